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

/* The 6-bit scale and minimum of group j (of 8, 32 elements each) in the 12 bytes of Q4_K and Q5_K:
 * groups 0..3 have theirs whole in bytes j and j + 4; of groups 4..7 the low 4 bits are in byte j +
 * 4, the high 2 above those of the first four. */
static void k_scale_min(const uint8_t *s, int j, float *scale, float *min) {
    if (j < 4) {
        *scale = (float)(s[j] & 63);
        *min = (float)(s[j + 4] & 63);
    } else {
        *scale = (float)((s[j + 4] & 15) | (s[j - 4] >> 6) << 4);
        *min = (float)(s[j + 4] >> 4 | (s[j] >> 6) << 4);
    }
}

/* d, dmin, 12 bytes of scales and minima, 128 bytes: of each 32 bytes the low halves are one group,
 * the high halves the next. (d * scale) * q - dmin * min */
static void q4_k_block(const uint8_t *b, float *out) {
    float d = f16_at(b), dmin = f16_at(b + 2);
    for (int j = 0; j < 8; j++) {
        const uint8_t *q = b + 16 + j / 2 * 32;
        float scale, min;
        k_scale_min(b + 4, j, &scale, &min);
        scale *= d;
        min *= dmin;
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
        float scale, min;
        k_scale_min(b + 4, j, &scale, &min);
        scale *= d;
        min *= dmin;
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
static void q6_k_block(const uint8_t *b, float *out) {
    float d = f16_at(b + 208);
    for (int at = 0; at < QK_K; at++) {
        int h = at / 128, r = at % 128 / 32, i = at % 32;
        int low = b[h * 64 + r % 2 * 32 + i] >> (r / 2 * 4) & 15;
        int high = b[128 + h * 32 + i] >> (r * 2) & 3;
        float scale = d * (float)(int8_t)b[192 + at / 16];
        out[at] = scale * (float)((low | high << 4) - 32);
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
    {10, {"Q2_K", QK_K, 84, false}, NULL},
    {11, {"Q3_K", QK_K, 110, false}, NULL},
    {GGML_Q4_K, {"Q4_K", QK_K, 144, true}, q4_k_block},
    {GGML_Q5_K, {"Q5_K", QK_K, 176, true}, q5_k_block},
    {GGML_Q6_K, {"Q6_K", QK_K, 210, true}, q6_k_block},
    {15, {"Q8_K", QK_K, 292, false}, NULL},
    {16, {"IQ2_XXS", QK_K, 66, false}, NULL},
    {17, {"IQ2_XS", QK_K, 74, false}, NULL},
    {18, {"IQ3_XXS", QK_K, 98, false}, NULL},
    {19, {"IQ1_S", QK_K, 50, false}, NULL},
    {20, {"IQ4_NL", QK, 18, false}, NULL},
    {21, {"IQ3_S", QK_K, 110, false}, NULL},
    {22, {"IQ2_S", QK_K, 82, false}, NULL},
    {23, {"IQ4_XS", QK_K, 136, false}, NULL},
    {24, {"I8", 1, 1, false}, NULL},
    {25, {"I16", 1, 2, false}, NULL},
    {26, {"I32", 1, 4, false}, NULL},
    {27, {"I64", 1, 8, false}, NULL},
    {28, {"F64", 1, 8, false}, NULL},
    {29, {"IQ1_M", QK_K, 56, false}, NULL},
    {GGML_BF16, {"BF16", 1, 2, true}, bf16_one},
    {34, {"TQ1_0", QK_K, 54, false}, NULL},
    {35, {"TQ2_0", QK_K, 66, false}, NULL},
    {39, {"MXFP4", QK, 17, false}, NULL},
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
