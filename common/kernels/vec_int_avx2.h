/* AVX2: what the integer kernels with vectors of 8 lanes share.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_VEC_INT_AVX2_H
#define KERNELS_VEC_INT_AVX2_H

#include <string.h>

#include "kernels/x86.h"
#include "weights/panel_i8.h"

typedef __m256i ivec;
typedef __m256 fvec;

AVX2 EVERY_ISA ivec iv_zero(void) {
    return _mm256_setzero_si256();
}
AVX2 EVERY_ISA ivec iv_load(const void *p) {
    return _mm256_loadu_si256(p);
}
AVX2 EVERY_ISA ivec spread(const unsigned char *p) {
    int32_t i;
    memcpy(&i, p, sizeof i);
    return _mm256_set1_epi32(i);
}
AVX2 EVERY_ISA ivec iv_add(ivec a, ivec b) {
    return _mm256_add_epi32(a, b);
}
AVX2 EVERY_ISA ivec iv_mul(ivec a, ivec b) {
    return _mm256_mullo_epi32(a, b);
}
AVX2 EVERY_ISA fvec fv_of(ivec v) {
    return _mm256_cvtepi32_ps(v);
}
AVX2 EVERY_ISA fvec fv_set(float f) {
    return _mm256_set1_ps(f);
}
AVX2 EVERY_ISA fvec fv_load(const float *p) {
    return _mm256_loadu_ps(p);
}
AVX2 EVERY_ISA void fv_store(float *p, fvec v) {
    _mm256_storeu_ps(p, v);
}
AVX2 EVERY_ISA fvec fv_add(fvec a, fvec b) {
    return _mm256_add_ps(a, b);
}
AVX2 EVERY_ISA fvec fv_mul(fvec a, fvec b) {
    return _mm256_mul_ps(a, b);
}

/* 128 * high + low is exact in double, and rounded to f32 once. */
AVX2 EVERY_ISA __m128 total_of(__m128i low, __m128i high) {
    return _mm256_cvtpd_ps(_mm256_add_pd(
        _mm256_mul_pd(_mm256_cvtepi32_pd(high), _mm256_set1_pd(128)), _mm256_cvtepi32_pd(low)));
}
AVX2 EVERY_ISA void add_total(float *y, ivec low, ivec high, float f) {
    const __m128 a = total_of(_mm256_castsi256_si128(low), _mm256_castsi256_si128(high)),
                 b = total_of(_mm256_extracti128_si256(low, 1), _mm256_extracti128_si256(high, 1));
    const __m256 scaled = _mm256_mul_ps(_mm256_set_m128(b, a), _mm256_set1_ps(f));
    _mm256_storeu_ps(y, _mm256_add_ps(_mm256_loadu_ps(y), scaled));
}

/* Bytes 0 to 7 or 8 to 15, four times each: what is added to the values of half a line. */
AVX2 EVERY_ISA __m256i spread_rows(const unsigned char *bytes, int first) {
    const __m256i four =
        _mm256_add_epi8(_mm256_set_epi32(0x07070707, 0x06060606, 0x05050505, 0x04040404, 0x03030303,
                                         0x02020202, 0x01010101, 0x00000000),
                        _mm256_set1_epi8((char)first));
    const __m256i rows =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)bytes));
    return _mm256_shuffle_epi8(rows, four);
}
/* Half a line: of rows 0 to 7, or 8 to 15. */
AVX2 EVERY_ISA void unpack_half(unsigned char *to, const unsigned char *codes, __m256i table,
                                __m256i low, __m256i high) {
    const __m256i nibble = _mm256_set1_epi8(15);
    for (size_t l = 0; l < 4; l++) {
        const __m256i v = iv_load(codes + l * PANEL_LINE);
        const __m256i lo = _mm256_shuffle_epi8(table, _mm256_and_si256(v, nibble)),
                      hi = _mm256_shuffle_epi8(table,
                                               _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble));
        _mm256_storeu_si256((__m256i *)(void *)(to + l * PANEL_LINE), _mm256_add_epi8(lo, low));
        _mm256_storeu_si256((__m256i *)(void *)(to + (4 + l) * PANEL_LINE),
                            _mm256_add_epi8(hi, high));
    }
}
AVX2 EVERY_ISA void unpack_lines(unsigned char *to, const unsigned char *codes, const int8_t *table,
                                 const unsigned char *low, const unsigned char *high) {
    const __m256i t =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)table));
    unpack_half(to, codes, t, spread_rows(low, 0), spread_rows(high, 0));
    unpack_half(to + 32, codes + 32, t, spread_rows(low, 8), spread_rows(high, 8));
}

#endif
