/* The integer layouts with AVX512-VNNI: vpdpbusd adds four products of a byte of W and a byte of x
 * to each of 16 lanes.
 *
 * 3 rows of x with 2 panels are 12 sums, low and high. That hides the instruction's 5 cycles at 2 a
 * cycle, and takes 8 loads for 12 of them. With the totals they fill 28 of 32 registers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include <string.h>

#include "kernels/matmul_int.h"
#include "weights/panel_i8.h"

#define TARGET AVX512VNNI
enum { PLANES = 1, LANES = 16, ROWS = 3, PANELS = 2 };

typedef __m512i ivec;
typedef __m512 fvec;

TARGET EVERY_ISA ivec iv_zero(void) {
    return _mm512_setzero_si512();
}
TARGET EVERY_ISA ivec iv_load(const void *p) {
    return _mm512_loadu_si512(p);
}
TARGET EVERY_ISA ivec iv_add(ivec a, ivec b) {
    return _mm512_add_epi32(a, b);
}
TARGET EVERY_ISA ivec iv_mul(ivec a, ivec b) {
    return _mm512_mullo_epi32(a, b);
}
TARGET EVERY_ISA ivec iv_dot(ivec sum, ivec w, ivec x) {
    return _mm512_dpbusd_epi32(sum, w, x);
}
TARGET EVERY_ISA ivec spread(const unsigned char *p) {
    int32_t i;
    memcpy(&i, p, sizeof i);
    return _mm512_set1_epi32(i);
}
TARGET EVERY_ISA fvec fv_of(ivec v) {
    return _mm512_cvtepi32_ps(v);
}
TARGET EVERY_ISA fvec fv_set(float f) {
    return _mm512_set1_ps(f);
}
TARGET EVERY_ISA fvec fv_load(const float *p) {
    return _mm512_loadu_ps(p);
}
TARGET EVERY_ISA void fv_store(float *p, fvec v) {
    _mm512_storeu_ps(p, v);
}
TARGET EVERY_ISA fvec fv_add(fvec a, fvec b) {
    return _mm512_add_ps(a, b);
}
TARGET EVERY_ISA fvec fv_mul(fvec a, fvec b) {
    return _mm512_mul_ps(a, b);
}
#include "kernels/vec_int_vnni_tmpl.h"

/* 128 * high + low is exact in double, and rounded to f32 once. */
TARGET EVERY_ISA void add_half(float *y, __m256i low, __m256i high, float f) {
    const __m512d total = _mm512_add_pd(
        _mm512_mul_pd(_mm512_cvtepi32_pd(high), _mm512_set1_pd(128)), _mm512_cvtepi32_pd(low));
    const __m256 scaled = _mm256_mul_ps(_mm512_cvtpd_ps(total), _mm256_set1_ps(f));
    _mm256_storeu_ps(y, _mm256_add_ps(_mm256_loadu_ps(y), scaled));
}
TARGET EVERY_ISA void add_total(float *y, ivec low, ivec high, float f) {
    add_half(y, _mm512_castsi512_si256(low), _mm512_castsi512_si256(high), f);
    add_half(y + 8, _mm512_extracti64x4_epi64(low, 1), _mm512_extracti64x4_epi64(high, 1), f);
}

/* Each of 16 bytes four times: what is added to the values of a line. */
TARGET EVERY_ISA __m512i spread_rows(const unsigned char *bytes) {
    const __m512i four =
        _mm512_set_epi32(0x0F0F0F0F, 0x0E0E0E0E, 0x0D0D0D0D, 0x0C0C0C0C, 0x0B0B0B0B, 0x0A0A0A0A,
                         0x09090909, 0x08080808, 0x07070707, 0x06060606, 0x05050505, 0x04040404,
                         0x03030303, 0x02020202, 0x01010101, 0x00000000);
    const __m512i rows =
        _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)bytes));
    return _mm512_shuffle_epi8(rows, four);
}
TARGET EVERY_ISA void unpack_lines(unsigned char *to, const unsigned char *codes,
                                   const int8_t *table, const unsigned char *low,
                                   const unsigned char *high) {
    const __m512i t = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
    const __m512i nibble = _mm512_set1_epi8(15), add_low = spread_rows(low),
                  add_high = low == high ? add_low : spread_rows(high);
    UNROLLED for (size_t l = 0; l < 4; l++) {
        const __m512i v = load_w(codes + l * PANEL_LINE);
        const __m512i lo = _mm512_shuffle_epi8(t, _mm512_and_si512(v, nibble)),
                      hi =
                          _mm512_shuffle_epi8(t, _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble));
        _mm512_storeu_si512(to + l * PANEL_LINE, _mm512_add_epi8(lo, add_low));
        _mm512_storeu_si512(to + (4 + l) * PANEL_LINE, _mm512_add_epi8(hi, add_high));
    }
}

#define TILES(kind, fn, name, layout)                                                              \
    kind(tile_11_##name, 1, 1, layout);                                                            \
    kind(tile_21_##name, 2, 1, layout);                                                            \
    kind(tile_31_##name, 3, 1, layout);                                                            \
    kind(tile_12_##name, 1, 2, layout);                                                            \
    kind(tile_22_##name, 2, 2, layout);                                                            \
    kind(tile_32_##name, 3, 2, layout);                                                            \
    static fn *const tiles_##name[PANELS + 1][ROWS + 1] = {                                        \
        {NULL},                                                                                    \
        {NULL, tile_11_##name, tile_21_##name, tile_31_##name},                                    \
        {NULL, tile_12_##name, tile_22_##name, tile_32_##name},                                    \
    }
#include "kernels/matmul_int_tmpl.h"
#include "kernels/matmul_group_tmpl.h"

void matmul_int_avx512_fill(struct kernel_table *t) {
    matmul_register(t, int_kernels, N_INT_KERNELS);
    matmul_register(t, group_kernels, N_GROUP_KERNELS);
}
#endif
