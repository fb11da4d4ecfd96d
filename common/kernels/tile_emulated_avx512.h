/* TDPBF16PS emulated with AVX-512: two chains of f32 multiply-adds, with DAZ and FTZ set in MXCSR.
 * Same bits as the C of tile_emulated.h, some fifty times as fast. Include before tile.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TILE_EMULATED_AVX512_H
#define KERNELS_TILE_EMULATED_AVX512_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/vec_avx512.h"

enum { TILE_MXCSR = 0x1F80 | 1 << 15 | 1 << 6, TILE_SIDE = 4 }; // no exceptions, FTZ, DAZ

/* R rows of C and A from row m on. */
AVX512 EVERY_ISA void tile_fast_rows(const size_t R, float (*c)[16], const uint32_t (*a)[16],
                                     const uint32_t (*b)[16], __mmask16 cols) {
    vec even[TILE_SIDE], odd[TILE_SIDE];
    UNROLLED for (size_t r = 0; r < R; r++) even[r] = odd[r] = vec_zero();
    for (size_t k = 0; k < 16; k++) {
        const vec pairs = _mm512_loadu_ps(b[k]), lower = vec_lower(pairs), upper = vec_upper(pairs);
        UNROLLED for (size_t r = 0; r < R; r++) {
            const vec av = _mm512_castsi512_ps(_mm512_set1_epi32((int)a[r][k]));
            even[r] = vec_multiply_add(even[r], vec_lower(av), lower);
            odd[r] = vec_multiply_add(odd[r], vec_upper(av), upper);
        }
    }
    UNROLLED for (size_t r = 0; r < R; r++) _mm512_mask_storeu_ps(
        c[r], cols, _mm512_add_ps(_mm512_loadu_ps(c[r]), _mm512_add_ps(even[r], odd[r])));
}

/* A call, so that no arithmetic moves out of the time in which MXCSR is set. */
AVX512 __attribute__((noinline)) static void tile_fast_tile(float (*c)[16], const uint32_t (*a)[16],
                                                            const uint32_t (*b)[16], size_t rows,
                                                            __mmask16 cols) {
    size_t m = 0;
    for (; m + TILE_SIDE <= rows; m += TILE_SIDE)
        tile_fast_rows(TILE_SIDE, c + m, a + m, b, cols);
    for (; m < rows; m++)
        tile_fast_rows(1, c + m, a + m, b, cols);
    __asm__ volatile("" ::: "memory");
}

AVX512 static inline void tile_fast_bf16(float (*c)[16], const uint32_t (*a)[16],
                                         const uint32_t (*b)[16], size_t rows, size_t cols) {
    const unsigned was = _mm_getcsr();
    _mm_setcsr(TILE_MXCSR);
    tile_fast_tile(c, a, b, rows, vec_first(cols));
    _mm_setcsr(was);
}
#define TILE_FAST_BF16(c, a, b, rows, cols)                                                        \
    tile_fast_bf16((c)->f, (const uint32_t(*)[16])(a)->word, (const uint32_t(*)[16])(b)->word,     \
                   rows, cols)

#endif
