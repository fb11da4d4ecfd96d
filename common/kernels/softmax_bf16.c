/* The softmax of soften.c by hand for AVX512-BF16, where multiplying is so quick that the
 * exponentials of attention would take a quarter of its time: 2^t from the instructions that take a
 * number apart and put it together, the largest of four queries' scores at once, and rounding to
 * bf16 while the results are still in registers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "kernels/tile.h"

#if defined(__x86_64__)
#include "kernels/x86.h"

enum { VECTORS = KV_PAGE / 16 };

/* 2^t = 2^(whole part of t, downwards) * 2^f, 0 <= f < 1, both parts of which are one instruction.
 * 2^f by the polynomial whose largest relative error there is least (by Remez's algorithm): of
 * degree 5, 7.5e-8 (1.6e-7 in f32), or of degree 3, 7.5e-5, which is enough (`rough`) for what will
 * be rounded to the 2^-9 of a bf16. */
AVX512BF16 EVERY_ISA __m512 exp2_of(const bool rough, __m512 t) {
    static const float fine[] = {1.87757670e-3f, 8.98933969e-3f, 5.58263175e-2f,
                                 0.240153611f,   0.693153083f,   0.99999994f},
                       coarse[] = {7.80245215e-2f, 0.226067156f, 0.695833564f, 0.999925196f};
    const float *of = rough ? coarse : fine;
    __m512 f = _mm512_reduce_ps(t, _MM_FROUND_TO_NEG_INF), p = _mm512_set1_ps(of[0]);
    for (size_t i = 1; i < (rough ? 4 : 6); i++)
        p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(of[i]));
    return _mm512_scalef_ps(p, t);
}

LANES4(largest4, AVX512BF16, max)

AVX512BF16 EVERY_ISA void soften_512(const bool rough, const bool whole, float *s, size_t m,
                                     uint64_t seen, float *max, float *sum, float *shrink,
                                     uint16_t *rounded, struct fetch f) {
    const __m512 log2e = _mm512_set1_ps(1.44269504f), none = _mm512_set1_ps(-INFINITY);
    for (size_t q = 0; q < m; q += 4) {
        const __mmask8 some = (__mmask8)(m - q < 4 ? (1 << (m - q)) - 1 : 0xF);
        __m512 top[4];
        UNROLLED for (size_t r = 0; r < 4; r++) {
            const float *one = s + (q + r < m ? q + r : q) * KV_PAGE;
            top[r] = none;
            fetch_step(&f);
            UNROLLED for (size_t i = 0; i < VECTORS; i++) top[r] = _mm512_max_ps(
                top[r],
                whole ? _mm512_loadu_ps(one + i * 16)
                      : _mm512_mask_loadu_ps(none, (__mmask16)(seen >> 16 * i), one + i * 16));
        }
        __m128 was = _mm_maskz_loadu_ps(some, max + q),
               now = _mm_max_ps(largest4(top[0], top[1], top[2], top[3]), was);
        _mm_mask_storeu_ps(max + q, some, now);
        __m512 less =
            _mm512_castps128_ps512(_mm_mul_ps(_mm_sub_ps(was, now), _mm512_castps512_ps128(log2e)));
        _mm_mask_storeu_ps(shrink + q, some, _mm512_castps512_ps128(exp2_of(rough, less)));
    }
    for (size_t q = 0; q < m; q++) {
        float *one = s + q * KV_PAGE;
        fetch_step(&f);
        __m512 top = _mm512_mul_ps(_mm512_set1_ps(max[q]), log2e), e[VECTORS];
        UNROLLED for (size_t i = 0; i < VECTORS; i++) {
            e[i] = exp2_of(rough, _mm512_fmsub_ps(_mm512_loadu_ps(one + i * 16), log2e, top));
            e[i] = whole ? e[i] : _mm512_maskz_mov_ps((__mmask16)(seen >> 16 * i), e[i]);
        }
        UNROLLED for (size_t i = 0; i < VECTORS; i += 2) {
            if (rough) {
                _mm512_storeu_si512(rounded + q * KV_PAGE + i * 16,
                                    (__m512i)_mm512_cvtne2ps_pbh(e[i + 1], e[i]));
            } else {
                _mm512_storeu_ps(one + i * 16, e[i]);
                _mm512_storeu_ps(one + i * 16 + 16, e[i + 1]);
            }
        }
        __m512 page = _mm512_add_ps(_mm512_add_ps(e[0], e[1]), _mm512_add_ps(e[2], e[3]));
        __m512 all = _mm512_loadu_ps(sum + q * SUM_LANES);
        _mm512_storeu_ps(sum + q * SUM_LANES,
                         _mm512_fmadd_ps(all, _mm512_set1_ps(shrink[q]), page));
    }
}

AVX512BF16 static void soften_avx512bf16(float *s, size_t m, size_t from, size_t to, float *max,
                                         float *sum, float *shrink, uint16_t *rounded,
                                         const unsigned char *next, size_t bytes) {
    struct fetch f = fetch_bytes(next, bytes);
    fetch_at_pace(&f, 1, 2 * m, 1);
    const uint64_t seen = (to < KV_PAGE ? (UINT64_C(1) << to) - 1 : UINT64_MAX) & UINT64_MAX
                                                                                      << from;
    if (rounded && seen == UINT64_MAX)
        soften_512(true, true, s, m, seen, max, sum, shrink, rounded, f);
    else if (rounded)
        soften_512(true, false, s, m, seen, max, sum, shrink, rounded, f);
    else
        soften_512(false, false, s, m, seen, max, sum, shrink, rounded, f);
}
#endif

void softmax_bf16_fill(struct kernel_table *t, enum isa isa) {
#if defined(__x86_64__)
    if (isa == ISA_AVX512BF16)
        t->soften = soften_avx512bf16;
#else
    (void)t;
    (void)isa;
#endif
}
