/* Matmul with AVX-512: 16 lanes and 32 registers.
 *
 * 4 x 6 sums, 6 vectors of W and 1 of x: 10 loads for 24 multiply-adds (matmul_avx2.c says what
 * the size of a tile follows from).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include "kernels/vec_avx512.h"
#include "weights/mat.h"

#define TARGET AVX512
enum { STEP = VEC_LANES, ROWS = 4, OUTS = 6, OUTS_1 = 4 };

AVX512 EVERY_ISA vec load_x(const float *p, size_t n) {
    return vec_load(p, n);
}
AVX512 EVERY_ISA vec load_w(const enum mat_layout layout, const unsigned char *p, size_t n) {
    if (layout == MAT_F32)
        return vec_load((const float *)(const void *)p, n);
    __m256i h = n == 16 ? _mm256_loadu_si256((const __m256i *)(const void *)p)
                        : _mm256_maskz_loadu_epi16(vec_first(n), p);
    if (layout == MAT_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
AVX512 EVERY_ISA vec multiply_add(vec acc, vec x, vec w) {
    return vec_multiply_add(acc, x, w);
}

#include "kernels/matmul_f32_tmpl.h"

void matmul_avx512_fill(struct kernel_table *t) {
    matmul_register(t, f32_kernels, N_F32_KERNELS);
}
#endif
