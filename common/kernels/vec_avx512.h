/* AVX-512: vectors of 16 floats, masked loads and stores.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_VEC_AVX512_H
#define KERNELS_VEC_AVX512_H

#include "kernels/x86.h"

typedef __m512 vec;
enum { VEC_LANES = 16 };

AVX512 EVERY_ISA vec vec_zero(void) {
    return _mm512_setzero_ps();
}
AVX512 EVERY_ISA vec vec_spread(float f) {
    return _mm512_set1_ps(f);
}

AVX512 EVERY_ISA __mmask16 vec_first(size_t n) { // ones for the lanes below n
    return (__mmask16)((1u << n) - 1);
}
/* The first n lanes; the rest of what is loaded is zero. */
AVX512 EVERY_ISA vec vec_load(const float *p, size_t n) {
    return n == 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(vec_first(n), p);
}
AVX512 EVERY_ISA void vec_store(float *p, vec v, size_t n) {
    if (n == 16)
        _mm512_storeu_ps(p, v);
    else
        _mm512_mask_storeu_ps(p, vec_first(n), v);
}

/* Of lanes that hold two bf16 each: the lower one as f32, the upper one. */
AVX512 EVERY_ISA vec vec_lower(vec v) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16));
}
AVX512 EVERY_ISA vec vec_upper(vec v) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32((int)0xFFFF0000)));
}

AVX512 EVERY_ISA vec vec_multiply(vec a, vec b) {
    return _mm512_mul_ps(a, b);
}
AVX512 EVERY_ISA vec vec_multiply_add(vec acc, vec x, vec w) {
    return _mm512_fmadd_ps(x, w, acc);
}

LANES4(sum_lanes_4, AVX512, add)
/* The sum of the lanes of each of n vectors; y has room for a multiple of four. */
AVX512 EVERY_ISA void sum_lanes(float *y, const vec *v, size_t n) {
    UNROLLED for (size_t i = 0; i < n; i += 4) {
        size_t left = n - i;
        __m128 s = sum_lanes_4(v[i], v[left > 1 ? i + 1 : i], v[left > 2 ? i + 2 : i],
                               v[left > 3 ? i + 3 : i]);
        _mm_storeu_ps(y + i, s);
    }
}

#endif
