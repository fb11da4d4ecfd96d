/* AVX2: what the integer kernels with vectors of 8 lanes share.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_VEC_INT_AVX2_H
#define KERNELS_VEC_INT_AVX2_H

#include <string.h>

#include "kernels/x86.h"
#include "weights/panel_i8.h"

typedef __m256i ivec;

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

/* c + 128 of descriptors 0 to 7 or 8 to 15, four times each: what is added to the T of a line. */
AVX2 EVERY_ISA __m256i shifts(const unsigned char *descriptors, int first) {
    const __m256i four =
        _mm256_add_epi8(_mm256_set_epi32(0x07070707, 0x06060606, 0x05050505, 0x04040404, 0x03030303,
                                         0x02020202, 0x01010101, 0x00000000),
                        _mm256_set1_epi8((char)first));
    const __m256i d =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)descriptors));
    const __m256i each = _mm256_shuffle_epi8(d, four);
    const __m256i c = _mm256_and_si256(_mm256_srli_epi16(each, 4), _mm256_set1_epi8(12));
    return _mm256_add_epi8(c, _mm256_set1_epi8((char)PANEL_I8_OFFSET));
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
    unpack_half(to, codes, t, shifts(low, 0), shifts(high, 0));
    unpack_half(to + 32, codes + 32, t, shifts(low, 8), shifts(high, 8));
}

#endif
