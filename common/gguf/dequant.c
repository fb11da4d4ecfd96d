/* The block formats of GGUF tensors: see dequant.h. One function a format, each for one block. In
 * all of them q is the stored integer, and d and m (or dmin) are the block's f16 scale and minimum.
 *
 * A file is little-endian. Numbers are assembled from bytes, so the host's byte order and alignment
 * do not matter.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/dequant.h"

#include <string.h>

#include "weights/dtype.h"

enum { QK = 32, QK_K = 256 }; // elements of a small block and of a super-block

static uint16_t u16_at(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t u32_at(const uint8_t *p) {
    return (uint32_t)u16_at(p) | (uint32_t)u16_at(p + 2) << 16;
}

static float f16_at(const uint8_t *p) {
    return f32_from_f16(u16_at(p));
}

static void f32_one(const uint8_t *b, float *out) {
    uint32_t bits = u32_at(b);
    memcpy(out, &bits, sizeof *out);
}

static void f16_one(const uint8_t *b, float *out) {
    *out = f16_at(b);
}

static void bf16_one(const uint8_t *b, float *out) {
    *out = f32_from_bf16(u16_at(b));
}

static void f64_one(const uint8_t *b, float *out) {
    uint64_t bits = (uint64_t)u32_at(b + 4) << 32 | u32_at(b);
    double d;
    memcpy(&d, &bits, sizeof d);
    *out = (float)d;
}

/* d, 16 bytes: byte i holds q of element i in its low half and of element i + 16 in its high half.
 * d * (q - 8) */
static void q4_0_block(const uint8_t *b, float *out) {
    float d = f16_at(b);
    for (int i = 0; i < QK / 2; i++) {
        out[i] = d * (float)((b[2 + i] & 15) - 8);
        out[i + QK / 2] = d * (float)((b[2 + i] >> 4) - 8);
    }
}

/* d, m, 16 bytes as in Q4_0. d * q + m */
static void q4_1_block(const uint8_t *b, float *out) {
    float d = f16_at(b), m = f16_at(b + 2);
    for (int i = 0; i < QK / 2; i++) {
        out[i] = d * (float)(b[4 + i] & 15) + m;
        out[i + QK / 2] = d * (float)(b[4 + i] >> 4) + m;
    }
}

/* The 5-bit q of element i of a block: low 4 bits as in Q4_0, the fifth is bit i of high. */
static int q5_at(const uint8_t *low, uint32_t high, int i) {
    int nibble = i < QK / 2 ? low[i] & 15 : low[i - QK / 2] >> 4;
    return nibble | (int)(high >> i & 1) << 4;
}

/* d, 32 fifth bits, 16 bytes. d * (q - 16) */
static void q5_0_block(const uint8_t *b, float *out) {
    float d = f16_at(b);
    for (int i = 0; i < QK; i++)
        out[i] = d * (float)(q5_at(b + 6, u32_at(b + 2), i) - 16);
}

/* d, m, 32 fifth bits, 16 bytes. d * q + m */
static void q5_1_block(const uint8_t *b, float *out) {
    float d = f16_at(b), m = f16_at(b + 2);
    for (int i = 0; i < QK; i++)
        out[i] = d * (float)q5_at(b + 8, u32_at(b + 4), i) + m;
}

/* d, 32 signed bytes. d * q */
static void q8_0_block(const uint8_t *b, float *out) {
    float d = f16_at(b);
    for (int i = 0; i < QK; i++)
        out[i] = d * (float)(int8_t)b[2 + i];
}

/* The values that the 4-bit q of IQ4_NL and IQ4_XS choose from, and those of MXFP4 (twice an FP4
 * number). */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
static const int8_t mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 16 bytes as in Q4_0, whose q choose from values. d * values[q] */
static void chosen(const uint8_t *b, float d, const int8_t *values, float *out) {
    for (int i = 0; i < QK / 2; i++) {
        out[i] = d * (float)values[b[i] & 15];
        out[i + QK / 2] = d * (float)values[b[i] >> 4];
    }
}

/* d, 16 bytes. */
static void iq4_nl_block(const uint8_t *b, float *out) {
    chosen(b + 2, f16_at(b), iq4_values, out);
}

/* An exponent e, 16 bytes. d is 2^(e - 128): the values are halved. */
static void mxfp4_block(const uint8_t *b, float *out) {
    uint32_t bits = b[0] < 2 ? (uint32_t)0x00200000 << b[0] : (uint32_t)(b[0] - 1) << 23;
    float d;
    memcpy(&d, &bits, sizeof d);
    chosen(b + 1, d, mxfp4_values, out);
}

/* d, 16 bits with the high pairs of bits of 8 scales, 4 bytes with their low halves, 128 bytes.
 * (d * (scale - 32)) * values[q] */
static void iq4_xs_block(const uint8_t *b, float *out) {
    float d = f16_at(b);
    int high = u16_at(b + 2);
    for (int j = 0; j < 8; j++) {
        int scale = (b[4 + j / 2] >> (j % 2 * 4) & 15) | (high >> (2 * j) & 3) << 4;
        chosen(b + 8 + 16 * j, d * (float)(scale - 32), iq4_values, out + 32 * j);
    }
}

/* 16 bytes, each the scale (low half) and minimum (high half) of 16 elements; 64 bytes of pairs of
 * bits, d, dmin. Run r of half h (32 elements) is pair r of the half's 32 bytes.
 * (d * scale) * q - dmin * min */
static void q2_k_block(const uint8_t *b, float *out) {
    float d = f16_at(b + 80), dmin = f16_at(b + 82);
    for (int at = 0; at < QK_K; at++) {
        int h = at / 128, r = at % 128 / 32, i = at % 32;
        float scale = d * (float)(b[at / 16] & 15), min = dmin * (float)(b[at / 16] >> 4);
        out[at] = scale * (float)(b[16 + h * 32 + i] >> (r * 2) & 3) - min;
    }
}

/* 32 bytes of third bits, 64 bytes of pairs of bits as in Q2_K, 12 bytes of scales, d. Bit n of
 * byte i of the first 32 is the third bit of element 32 n + i. Scale j (of 16): its low 4 bits are
 * a half of byte j % 8, its high 2 a pair of byte 8 + j % 4. (d * (scale - 32)) * (q - 4) */
static void q3_k_block(const uint8_t *b, float *out) {
    float d = f16_at(b + 108);
    const uint8_t *s = b + 96;
    for (int at = 0; at < QK_K; at++) {
        int h = at / 128, r = at % 128 / 32, i = at % 32, j = at / 16;
        int scale = (s[j % 8] >> (j / 8 * 4) & 15) | (s[8 + j % 4] >> (j / 4 * 2) & 3) << 4;
        int q = (b[32 + h * 32 + i] >> (r * 2) & 3) | (b[i] >> (at / 32) & 1) << 2;
        out[at] = d * (float)(scale - 32) * (float)(q - 4);
    }
}

/* Digit n of a byte that holds base-3 digits as a fraction of 256, first digit first. */
static int digit(uint8_t byte, int n) {
    static const uint8_t power[5] = {1, 3, 9, 27, 81};
    return (uint8_t)(byte * power[n]) * 3 >> 8;
}

/* Bytes of 5 base-3 digits, 4 of them in the last 4 bytes, then d. Of the first 32 bytes, digit 0
 * of all, then digit 1 of all, and so on; the next 16 and the last 4 likewise. d * (digit - 1) */
static void tq1_0_block(const uint8_t *b, float *out) {
    static const struct { int at, n, digits; } runs[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
    float d = f16_at(b + 52);
    for (int r = 0; r < 3; r++)
        for (int n = 0; n < runs[r].digits; n++)
            for (int i = 0; i < runs[r].n; i++)
                *out++ = (float)(digit(b[runs[r].at + i], n) - 1) * d;
}

/* 64 bytes of pairs of bits as in Q2_K, d. d * (q - 1) */
static void tq2_0_block(const uint8_t *b, float *out) {
    float d = f16_at(b + 64);
    for (int at = 0; at < QK_K; at++) {
        int q = b[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3;
        out[at] = (float)(q - 1) * d;
    }
}

/* The 6-bit scale and minimum of group j (of 8, 32 elements each) in the 12 bytes of Q4_K and Q5_K:
 * groups 0..3 have theirs whole in bytes j and j + 4; of groups 4..7 the low 4 bits are in byte j +
 * 4, the high 2 above those of the first four. */
void gguf_k_scale_min(const uint8_t *s, int j, uint8_t *scale, uint8_t *min) {
    if (j < 4) {
        *scale = s[j] & 63;
        *min = s[j + 4] & 63;
    } else {
        *scale = (uint8_t)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
        *min = (uint8_t)(s[j + 4] >> 4 | (s[j] >> 6) << 4);
    }
}

/* d, dmin, 12 bytes of scales and minima, 128 bytes: of each 32 bytes the low halves are one group,
 * the high halves the next. (d * scale) * q - dmin * min */
static void q4_k_block(const uint8_t *b, float *out) {
    float d = f16_at(b), dmin = f16_at(b + 2);
    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b + 16 + j / 2 * 32;
        uint8_t scale_code, min_code;
        gguf_k_scale_min(b + 4, j, &scale_code, &min_code);
        const float scale = d * (float)scale_code, min = dmin * (float)min_code;
        for (int i = 0; i < 32; i++)
            out[j * 32 + i] = scale * (float)(j % 2 ? q[i] >> 4 : q[i] & 15) - min;
    }
}

/* As Q4_K, with 32 bytes of fifth bits before the 128: bit j of byte i belongs to element i of
 * group j. */
static void q5_k_block(const uint8_t *b, float *out) {
    float d = f16_at(b), dmin = f16_at(b + 2);
    const uint8_t *high = b + 16;
    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b + 48 + j / 2 * 32;
        uint8_t scale_code, min_code;
        gguf_k_scale_min(b + 4, j, &scale_code, &min_code);
        const float scale = d * (float)scale_code, min = dmin * (float)min_code;
        for (int i = 0; i < 32; i++) {
            int v = (j % 2 ? q[i] >> 4 : q[i] & 15) | (high[i] >> j & 1) << 4;
            out[j * 32 + i] = scale * (float)v - min;
        }
    }
}

/* 128 bytes of low halves, 64 bytes of upper pairs of bits, 16 signed scales (of 16 elements each),
 * d. Half h of the block (128 elements) is four runs r of 32: runs 0 and 1 are the low halves of 64
 * bytes, 2 and 3 the high halves; their upper bits are pair r of the half's 32 bytes. (d * scale) *
 * (q - 32) */
int gguf_q6_k_code(const uint8_t *b, int at) {
    int h = at / 128, r = at % 128 / 32, i = at % 32;
    int low = b[h * 64 + r % 2 * 32 + i] >> (r / 2 * 4) & 15;
    int high = b[128 + h * 32 + i] >> (r * 2) & 3;
    return low | high << 4;
}
static void q6_k_block(const uint8_t *b, float *out) {
    float d = f16_at(b + 208);
    for (int at = 0; at < QK_K; at++) {
        float scale = d * (float)(int8_t)b[192 + at / 16];
        out[at] = scale * (float)(gguf_q6_k_code(b, at) - 32);
    }
}

/* Every assigned number, so that a refusal can name the type. Sizes are those of ggml-common.h. */
static const struct {
    uint32_t type;
    struct gguf_layout layout;
    void (*block)(const uint8_t *b, float *out);
} types[] = {
    {GGML_F32, {"F32", 1, 4, true}, f32_one},
    {GGML_F16, {"F16", 1, 2, true}, f16_one},
    {GGML_Q4_0, {"Q4_0", QK, 18, true}, q4_0_block},
    {GGML_Q4_1, {"Q4_1", QK, 20, true}, q4_1_block},
    {GGML_Q5_0, {"Q5_0", QK, 22, true}, q5_0_block},
    {GGML_Q5_1, {"Q5_1", QK, 24, true}, q5_1_block},
    {GGML_Q8_0, {"Q8_0", QK, 34, true}, q8_0_block},
    {9, {"Q8_1", QK, 36, false}, NULL},
    {GGML_Q2_K, {"Q2_K", QK_K, 84, true}, q2_k_block},
    {GGML_Q3_K, {"Q3_K", QK_K, 110, true}, q3_k_block},
    {GGML_Q4_K, {"Q4_K", QK_K, 144, true}, q4_k_block},
    {GGML_Q5_K, {"Q5_K", QK_K, 176, true}, q5_k_block},
    {GGML_Q6_K, {"Q6_K", QK_K, 210, true}, q6_k_block},
    {15, {"Q8_K", QK_K, 292, false}, NULL},
    {16, {"IQ2_XXS", QK_K, 66, false}, NULL},
    {17, {"IQ2_XS", QK_K, 74, false}, NULL},
    {18, {"IQ3_XXS", QK_K, 98, false}, NULL},
    {19, {"IQ1_S", QK_K, 50, false}, NULL},
    {GGML_IQ4_NL, {"IQ4_NL", QK, 18, true}, iq4_nl_block},
    {21, {"IQ3_S", QK_K, 110, false}, NULL},
    {22, {"IQ2_S", QK_K, 82, false}, NULL},
    {GGML_IQ4_XS, {"IQ4_XS", QK_K, 136, true}, iq4_xs_block},
    {24, {"I8", 1, 1, false}, NULL},
    {25, {"I16", 1, 2, false}, NULL},
    {26, {"I32", 1, 4, false}, NULL},
    {27, {"I64", 1, 8, false}, NULL},
    {GGML_F64, {"F64", 1, 8, true}, f64_one},
    {29, {"IQ1_M", QK_K, 56, false}, NULL},
    {GGML_BF16, {"BF16", 1, 2, true}, bf16_one},
    {GGML_TQ1_0, {"TQ1_0", QK_K, 54, true}, tq1_0_block},
    {GGML_TQ2_0, {"TQ2_0", QK_K, 66, true}, tq2_0_block},
    {GGML_MXFP4, {"MXFP4", QK, 17, true}, mxfp4_block},
    {40, {"NVFP4", 64, 36, false}, NULL},
    {41, {"Q1_0", 128, 18, false}, NULL},
};
enum { N_TYPES = sizeof types / sizeof *types };

bool gguf_layout(uint32_t type, struct gguf_layout *out) {
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].type == type) {
            *out = types[i].layout;
            return true;
        }
    return false;
}

void gguf_dequant(uint32_t type, const void *src, float *dst, size_t n) {
    const uint8_t *p = src;
    for (size_t i = 0; i < N_TYPES; i++) {
        if (types[i].type != type || !types[i].block)
            continue;
        size_t block = types[i].layout.block, bytes = types[i].layout.n_bytes;
        for (size_t at = 0; at + block <= n; at += block, p += bytes)
            types[i].block(p, dst + at);
    }
}
