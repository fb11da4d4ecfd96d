/* AVX2: vectors of 8 floats, and the widening of weights.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_VEC_AVX2_H
#define KERNELS_VEC_AVX2_H

#include <string.h>

#include "kernels/x86.h"
#include "weights/mat.h"

typedef __m256 vec;
enum { STEP = 8 };

AVX2 EVERY_ISA vec vec_zero(void) {
    return _mm256_setzero_ps();
}
AVX2 EVERY_ISA vec vec_spread(float f) {
    return _mm256_set1_ps(f);
}

AVX2 EVERY_ISA __m256i vec_first(size_t n) { // all ones in the lanes below n
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
/* The first n lanes; the rest of what is loaded is zero. */
AVX2 EVERY_ISA vec vec_load(const float *p, size_t n) {
    return n == 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, vec_first(n));
}
AVX2 EVERY_ISA void vec_store(float *p, vec v, size_t n) {
    if (n == 8)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, vec_first(n), v);
}

/* Of lanes that hold two bf16 each: the lower one as f32, the upper one. */
AVX2 EVERY_ISA vec vec_lower(vec v) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16));
}
AVX2 EVERY_ISA vec vec_upper(vec v) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32((int)0xFFFF0000)));
}

AVX2 EVERY_ISA vec vec_multiply(vec a, vec b) {
    return _mm256_mul_ps(a, b);
}
AVX2 EVERY_ISA vec multiply_add(vec acc, vec x, vec w) {
    return _mm256_fmadd_ps(x, w, acc);
}

AVX2 EVERY_ISA vec load_x(const float *p, size_t n) {
    return vec_load(p, n);
}
AVX2 EVERY_ISA vec load_w(const enum mat_layout layout, const unsigned char *p, size_t n) {
    if (layout == MAT_F32)
        return vec_load((const float *)(const void *)p, n);
    __m128i h;
    if (n == 8) {
        h = _mm_loadu_si128((const __m128i *)(const void *)p);
    } else {
        uint16_t tail[8] = {0};
        memcpy(tail, p, n * 2);
        h = _mm_loadu_si128((const __m128i *)(const void *)tail);
    }
    if (layout == MAT_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* ((0+1) + (2+3)) + ((4+5) + (6+7)) of each of four vectors. */
AVX2 EVERY_ISA __m128 sum_lanes_4(vec a, vec b, vec c, vec d) {
    __m256 q = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(q), _mm256_extractf128_ps(q, 1));
}
/* The same of each of n; y has room for a multiple of four. */
AVX2 EVERY_ISA void sum_lanes(float *y, const vec *v, size_t n) {
    UNROLLED for (size_t i = 0; i < n; i += 4) {
        size_t left = n - i;
        __m128 s = sum_lanes_4(v[i], v[left > 1 ? i + 1 : i], v[left > 2 ? i + 2 : i],
                               v[left > 3 ? i + 3 : i]);
        _mm_storeu_ps(y + i, s);
    }
}

#endif
