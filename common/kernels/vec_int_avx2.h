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

AVX2 EVERY_ISA ivec iv_load(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
AVX2 EVERY_ISA ivec iv_set(int32_t i) {
    return _mm256_set1_epi32(i);
}
AVX2 EVERY_ISA ivec spread(const unsigned char *p) {
    int32_t i;
    memcpy(&i, p, sizeof i);
    return _mm256_set1_epi32(i);
}
AVX2 EVERY_ISA ivec iv_add(ivec a, ivec b) {
    return _mm256_add_epi32(a, b);
}
AVX2 EVERY_ISA ivec iv_sub(ivec a, ivec b) {
    return _mm256_sub_epi32(a, b);
}
AVX2 EVERY_ISA ivec iv_mul(ivec a, ivec b) {
    return _mm256_mullo_epi32(a, b);
}
AVX2 EVERY_ISA ivec iv_sub8(ivec a, ivec b) {
    return _mm256_sub_epi8(a, b);
}
AVX2 EVERY_ISA ivec iv_shl(ivec v, int n) {
    return _mm256_slli_epi32(v, n);
}
AVX2 EVERY_ISA ivec iv_sra16(ivec v) {
    return _mm256_srai_epi32(v, 16);
}
AVX2 EVERY_ISA ivec iv_low16(ivec v) {
    return _mm256_and_si256(v, _mm256_set1_epi32(0xFFFF));
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
AVX2 EVERY_ISA fvec fv_fma(fvec a, fvec b, fvec c) {
    return _mm256_fmadd_ps(a, b, c);
}

AVX2 EVERY_ISA void panel_f16(float *to, const void *from) {
    const __m128i *halves = (const __m128i *)from;
    fv_store(to, _mm256_cvtph_ps(_mm_loadu_si128(halves)));
    fv_store(to + 8, _mm256_cvtph_ps(_mm_loadu_si128(halves + 1)));
}

/* 16 bytes in each half. */
AVX2 EVERY_ISA ivec halves(const void *p) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p));
}
AVX2 EVERY_ISA ivec iv_bytes(const unsigned char *p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}
AVX2 EVERY_ISA ivec iv_choose(const unsigned char *four, ivec index) {
    return _mm256_castps_si256(_mm256_permutevar_ps(_mm256_castsi256_ps(halves(four)), index));
}
AVX2 EVERY_ISA void i4_fields(const unsigned char *descriptors, ivec *m, ivec *shift) {
    const __m256i d = iv_bytes(descriptors);
    *shift = _mm256_srli_epi32(d, 6);
    *m = _mm256_srai_epi32(_mm256_slli_epi32(d, 26), 26);
}
AVX2 EVERY_ISA ivec iv_table(const int8_t *table, int add) {
    return _mm256_add_epi8(halves(table), _mm256_set1_epi8((char)add));
}
AVX2 EVERY_ISA ivec look_up(ivec codes, ivec table, size_t high) {
    const __m256i index = high ? _mm256_srli_epi16(codes, 4) : codes;
    return _mm256_shuffle_epi8(table, _mm256_and_si256(index, _mm256_set1_epi8(15)));
}

/* A byte in the upper half of an int16 times 256 * factor: the upper half of that is the product.
 */
AVX2 EVERY_ISA void store_pairs(unsigned char *to, ivec bytes, ivec factors) {
    const __m256i even = _mm256_slli_epi16(bytes, 8),
                  odd = _mm256_and_si256(bytes, _mm256_set1_epi16((short)0xFF00));
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_mulhi_epi16(even, factors));
    _mm256_storeu_si256((__m256i *)(void *)(to + 32), _mm256_mulhi_epi16(odd, factors));
}
AVX2 EVERY_ISA void store_wide(unsigned char *to, ivec bytes, ivec zeros) {
    const __m256i even = _mm256_and_si256(bytes, _mm256_set1_epi16(255)),
                  odd = _mm256_srli_epi16(bytes, 8);
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_sub_epi16(even, zeros));
    _mm256_storeu_si256((__m256i *)(void *)(to + 32), _mm256_sub_epi16(odd, zeros));
}

#endif
