/* The block formats of GGUF, one block each, with values computed by hand from the formulas; and
 * the string map. (tests/st-convert.bats compares random blocks of all formats with a second
 * implementation.)
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "../lib/check.h"
#include "base/strmap.h"
#include "gguf/dequant.h"

#define HALF_1  0x00, 0x3c // 1.0 as f16, little-endian
#define HALF_2  0x00, 0x40 // 2.0
#define HALF_05 0x00, 0x38 // 0.5

static float out[256];

static const float *run(uint32_t type, const uint8_t *block, size_t n) {
    gguf_dequant(type, block, out, n);
    return out;
}

static void plain_types(void) {
    static const uint8_t f32[] = {0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80}; // 1.5, -0
    static const uint8_t f16[] = {1,    0, 0xff,
                                  0x7b, 0, 0xfc}; // smallest subnormal, largest, -infinity
    static const uint8_t bf16[] = {0xc0, 0x3f, 0x80, 0xff}; // 1.5, -infinity
    run(GGML_F32, f32, 2);
    CHECK(out[0] == 1.5f && out[1] == 0 && 1 / out[1] < 0);
    run(GGML_F16, f16, 3);
    CHECK(out[0] == 0x1p-24f && out[1] == 65504 && out[2] < -1e38f);
    run(GGML_BF16, bf16, 2);
    CHECK(out[0] == 1.5f && out[1] < -3.4e38f);
}

static void blocks_of_32(void) {
    // Byte 0 is 0x2f: element 0 is 15, element 16 is 2; all others are 0.
    static const uint8_t q4_0[18] = {HALF_05, 0x2f};
    run(GGML_Q4_0, q4_0, 32);
    CHECK(out[0] == 3.5f && out[16] == -3 && out[1] == -4 && out[31] == -4);
    static const uint8_t q4_1[20] = {HALF_05, HALF_2, 0x2f};
    run(GGML_Q4_1, q4_1, 32);
    CHECK(out[0] == 9.5f && out[16] == 3 && out[1] == 2 && out[31] == 2);
    // Fifth bits: of element 0 (bit 0 of the first byte) and of element 31 (bit 7 of the last).
    static const uint8_t q5_0[22] = {HALF_05, 1, 0, 0, 0x80, 0x2f};
    run(GGML_Q5_0, q5_0, 32);
    CHECK(out[0] == 7.5f && out[16] == -7 && out[1] == -8 && out[31] == 0);
    static const uint8_t q5_1[24] = {HALF_05, HALF_2, 1, 0, 0, 0x80, 0x2f};
    run(GGML_Q5_1, q5_1, 32);
    CHECK(out[0] == 17.5f && out[16] == 3 && out[1] == 2 && out[31] == 10);
    static const uint8_t q8_0[34] = {HALF_05, 0x80, 0x7f, [33] = 0xff};
    run(GGML_Q8_0, q8_0, 32);
    CHECK(out[0] == -64 && out[1] == 63.5f && out[2] == 0 && out[31] == -0.5f);
}

/* Scales: group 0 is 63 with minimum 1. Group 4: scale 0b10'0101 = 37 (low 4 bits in byte 8, high 2
 * in byte 0's top), minimum 0b01'0011 = 19 (low 4 bits in byte 8's top, high 2 in byte 4's top). */
static void super_blocks(void) {
    uint8_t q4[144] = {HALF_05, HALF_2, 0xbf, [8] = 0x41, [12] = 0x35};
    q4[16] = 0x07;      // group 0, element 0: 7
    q4[16 + 64] = 0x09; // group 4, element 0: 9
    run(GGML_Q4_K, q4, 256);
    CHECK(out[0] == 0.5f * 63 * 7 - 2 * 1 && out[1] == -2);
    CHECK(out[128] == 0.5f * 37 * 9 - 2 * 19 && out[129] == -38);
    CHECK(out[32] == 0 && out[255] == 0);
    uint8_t q5[176] = {HALF_05, HALF_2, 0xbf, [8] = 0x41, [12] = 0x35};
    q5[16] = 0x11; // element 0 of groups 0 and 4 has its fifth bit
    q5[48] = 0x07;
    q5[48 + 64] = 0x09;
    run(GGML_Q5_K, q5, 256);
    CHECK(out[0] == 0.5f * 63 * 23 - 2 && out[128] == 0.5f * 37 * 25 - 38);
    // Half 1, run 3 (elements 224..255): high half of byte 64 + 32 + i, top pair of byte 128 + 32 +
    // i.
    uint8_t q6[210] = {[96] = 0xa0, [160] = 0xc0, [192] = 2, [206] = 0xfd, [208] = 0x00, 0x38};
    run(GGML_Q6_K, q6, 256);
    CHECK(out[224] == 0.5f * -3 * (10 + 48 - 32) && out[225] == 0.5f * -3 * -32);
    CHECK(out[0] == 0.5f * 2 * -32 && out[16] == 0);
}

/* d is 0.5 in all. */
static void few_bits(void) {
    uint8_t iq4_nl[18] = {HALF_05, 0x8f};
    run(GGML_IQ4_NL, iq4_nl, 32);
    CHECK(out[0] == 56.5f && out[16] == 0.5f && out[1] == -63.5f);
    // Group 5: low half 9 in byte 6's top, high pair 2 in bits 10 and 11.
    uint8_t iq4_xs[136] = {HALF_05, 0x00, 0x08, [6] = 0x90, [8 + 80] = 0x0f};
    run(GGML_IQ4_XS, iq4_xs, 256);
    CHECK(out[160] == 0.5f * (9 + 32 - 32) * 113 && out[176] == 0.5f * 9 * -127);
    CHECK(out[0] == 0.5f * -32 * -127);
    static const uint8_t mxfp4[17] = {129, 0xa7, 0x08}; // d = 2: FP4's 6 is 12 halves
    run(GGML_MXFP4, mxfp4, 32);
    CHECK(out[0] == 24 && out[16] == -4 && out[1] == 0 && 1 / out[1] > 0);
    static const uint8_t tiny[17] = {1, 0x07}, largest[17] = {255, 0x07};
    run(GGML_MXFP4, tiny, 32);
    CHECK(out[0] == 12 * 0x1p-127f);
    run(GGML_MXFP4, largest, 32);
    CHECK(1 / out[0] == 0);
    uint8_t q2[84] = {[5] = 0x32, [16 + 16] = 0x30, [80] = HALF_05, HALF_2};
    run(GGML_Q2_K, q2, 256); // element 80: pair 2 of byte 16 is 3
    CHECK(out[80] == 0.5f * 2 * 3 - 2 * 3 && out[81] == -6 && out[16] == 0);
    // Element 80 is in group 5: low half of byte 5, high pair in bits 2 and 3 of byte 9.
    uint8_t q3[110] = {
        [16] = 0x04, [32 + 16] = 0x10, [96 + 5] = 0x07, [96 + 9] = 0x08, [108] = HALF_05};
    run(GGML_Q3_K, q3, 256);
    CHECK(out[80] == 0.5f * (7 + 32 - 32) * 1 && out[81] == 0.5f * 7 * -4);
    CHECK(out[0] == 0.5f * -32 * -4);
    // 0b11111111 is 22222 in base 3, 0 is 00000, 85 begins with 0 (85 * 3 < 256), 86 with 1.
    uint8_t tq1[54] = {255, 0, 85, 86, [52] = HALF_05};
    run(GGML_TQ1_0, tq1, 256);
    CHECK(out[0] == 0.5f && out[32] == 0.5f && out[128] == 0.5f && out[1] == -0.5f);
    CHECK(out[2] == -0.5f && out[3] == 0 && out[160] == -0.5f && out[255] == -0.5f);
    uint8_t tq2[66] = {0x24, [64] = HALF_05}; // pairs 0, 1, 2, 0
    run(GGML_TQ2_0, tq2, 256);
    CHECK(out[0] == -0.5f && out[32] == 0 && out[64] == 0.5f && out[96] == -0.5f);
    static const uint8_t f64[8] = {[6] = 0xf8, 0xbf};
    run(GGML_F64, f64, 1);
    CHECK(out[0] == -1.5f);
}

/* No element past n is written, an incomplete block is not converted, and blocks do not affect each
 * other. */
static void several_blocks(void) {
    static const uint8_t two[36] = {HALF_1, 0xff, [18] = 0x00, 0xbc};
    for (size_t i = 0; i < 256; i++)
        out[i] = 99;
    run(GGML_Q4_0, two, 64);
    CHECK(out[0] == 7 && out[1] == -8 && out[32] == 8 && out[63] == 8 && out[64] == 99);
}

static void layouts(void) {
    struct gguf_layout l;
    CHECK(gguf_layout(GGML_Q6_K, &l) && l.block == 256 && l.n_bytes == 210 && l.convertible);
    CHECK(gguf_layout(21, &l) && !l.convertible);
    CHECK_STR(l.name, "IQ3_S");
    CHECK(!gguf_layout(4, &l) && !gguf_layout(5, &l) && !gguf_layout(UINT32_MAX, &l));
}

static void string_map(void) {
    struct strmap m;
    enum { N = 3000 };
    static char keys[N][8];
    uint32_t v = 0;
    strmap_init(&m, N + 1);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        CHECK(strmap_add(&m, str_of(keys[i]), i));
    }
    CHECK(strmap_add(&m, (struct str){"", 0}, 7) && !strmap_add(&m, str_of("k17"), 1));
    for (uint32_t i = 0; i < N; i++)
        if (!strmap_find(&m, str_of(keys[i]), &v) || v != i)
            CHECK_MSG(0, "%s is %u", keys[i], v);
    CHECK(strmap_find(&m, (struct str){"", 0}, &v) && v == 7);
    CHECK(strmap_find(&m, (struct str){"k17xyz", 3}, &v) && v == 17);
    CHECK(!strmap_find(&m, str_of("k3000"), &v) && v == 17);
    strmap_free(&m);
}

int main(void) {
    RUN(plain_types);
    RUN(blocks_of_32);
    RUN(super_blocks);
    RUN(few_bits);
    RUN(several_blocks);
    RUN(layouts);
    RUN(string_map);
    return check_done();
}
