/* Tiles emulated with AVX-512. TDPBF16PS: two chains of f32 multiply-adds, with DAZ and FTZ set in
 * MXCSR. TDPBSSD and its kind: products of bytes made int16. Same bits as the C of tile_emulated.h,
 * some fifty times as fast. Include before tile.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TILE_EMULATED_AVX512_H
#define KERNELS_TILE_EMULATED_AVX512_H

#include <stddef.h>
#include <stdbool.h>
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

/* Bytes 0 and 2 of each lane, or 1 and 3, as int16. */
AVX512 EVERY_ISA __m512i tile_bytes(__m512i v, bool odd, bool is_signed) {
    v = odd ? v : _mm512_slli_epi16(v, 8);
    return is_signed ? _mm512_srai_epi16(v, 8) : _mm512_srli_epi16(v, 8);
}
AVX512 static inline void tile_fast_int8(uint32_t (*c)[16], const uint32_t (*a)[16],
                                         const uint32_t (*b)[16], size_t rows, size_t cols,
                                         bool a_signed, bool b_signed) {
    __m512i even[16], odd[16];
    for (size_t k = 0; k < 16; k++) {
        const __m512i v = _mm512_loadu_si512(b[k]);
        even[k] = tile_bytes(v, false, b_signed);
        odd[k] = tile_bytes(v, true, b_signed);
    }
    for (size_t m = 0; m < rows; m++) {
        __m512i sum = _mm512_loadu_si512(c[m]);
        for (size_t k = 0; k < 16; k++) {
            const __m512i v = _mm512_set1_epi32((int)a[m][k]);
            const __m512i e = _mm512_madd_epi16(tile_bytes(v, false, a_signed), even[k]),
                          o = _mm512_madd_epi16(tile_bytes(v, true, a_signed), odd[k]);
            sum = _mm512_add_epi32(sum, _mm512_add_epi32(e, o));
        }
        _mm512_mask_storeu_ps(c[m], vec_first(cols), _mm512_castsi512_ps(sum));
    }
}
#define TILE_FAST_INT8(c, a, b, rows, cols, a_signed, b_signed)                                    \
    tile_fast_int8((c)->word, (const uint32_t(*)[16])(a)->word, (const uint32_t(*)[16])(b)->word,  \
                   rows, cols, a_signed, b_signed)

#endif
