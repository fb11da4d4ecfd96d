/* The online softmax of attention for AVX512-BF16, by hand: its products are so quick that the
 * exponentials in C would take a quarter of attention's time.
 *
 * 2^t is made by the instructions that take a float apart and put it together. The maxima of four
 * queries are found at once. Results are rounded to bf16 while they are in registers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "kernels/prefetch.h"
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86

enum { VECTORS = KV_PAGE / 16 };

/* 2^t = 2^(t rounded down) * 2^f with 0 <= f < 1: both parts of t are one instruction. 2^f is the
 * polynomial of least maximal relative error there (Remez): of degree 5, 7.5e-8 (1.6e-7 in f32); or
 * of degree 3 (`rough`), 7.5e-5, for results that are rounded to the 2^-9 of bf16. */
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

/* The maxima and rescale of four queries from q on; seen: a bit for each position of the page. */
AVX512BF16 EVERY_ISA void find_maxima(const bool rough, const bool whole,
                                      const struct attn_softmax *o, uint64_t seen, size_t q,
                                      struct prefetch *f) {
    const __m512 log2e = _mm512_set1_ps(1.44269504f), none = _mm512_set1_ps(-INFINITY);
    const __mmask8 some = (__mmask8)(o->m - q < 4 ? (1 << (o->m - q)) - 1 : 0xF);
    __m512 top[4];
    UNROLLED for (size_t r = 0; r < 4; r++) {
        const float *one = o->s + (q + r < o->m ? q + r : q) * KV_PAGE;
        top[r] = none;
        prefetch_step(f);
        UNROLLED for (size_t i = 0; i < VECTORS; i++) top[r] = _mm512_max_ps(
            top[r], whole ? _mm512_loadu_ps(one + i * 16)
                          : _mm512_mask_loadu_ps(none, (__mmask16)(seen >> 16 * i), one + i * 16));
    }
    __m128 was = _mm_maskz_loadu_ps(some, o->max + q),
           now = _mm_max_ps(largest4(top[0], top[1], top[2], top[3]), was);
    _mm_mask_storeu_ps(o->max + q, some, now);
    __m512 less =
        _mm512_zextps128_ps512(_mm_mul_ps(_mm_sub_ps(was, now), _mm512_castps512_ps128(log2e)));
    _mm_mask_storeu_ps(o->rescale + q, some, _mm512_castps512_ps128(exp2_of(rough, less)));
}

/* The exponentials of query q, and their sum. rough: as bf16. */
AVX512BF16 EVERY_ISA void exponentials(const bool rough, const bool whole,
                                       const struct attn_softmax *o, uint64_t seen, size_t q) {
    const __m512 log2e = _mm512_set1_ps(1.44269504f);
    float *one = o->s + q * KV_PAGE, *sum = o->sum + q * SUM_LANES;
    __m512 top = _mm512_mul_ps(_mm512_set1_ps(o->max[q]), log2e), e[VECTORS];
    UNROLLED for (size_t i = 0; i < VECTORS; i++) {
        e[i] = exp2_of(rough, _mm512_fmsub_ps(_mm512_loadu_ps(one + i * 16), log2e, top));
        e[i] = whole ? e[i] : _mm512_maskz_mov_ps((__mmask16)(seen >> 16 * i), e[i]);
    }
    UNROLLED for (size_t i = 0; i < VECTORS; i += 2) {
        if (rough) {
            _mm512_storeu_si512(o->rounded + q * KV_PAGE + i * 16,
                                (__m512i)_mm512_cvtne2ps_pbh(e[i + 1], e[i]));
        } else {
            _mm512_storeu_ps(one + i * 16, e[i]);
            _mm512_storeu_ps(one + i * 16 + 16, e[i + 1]);
        }
    }
    __m512 page = _mm512_add_ps(_mm512_add_ps(e[0], e[1]), _mm512_add_ps(e[2], e[3]));
    __m512 all = _mm512_loadu_ps(sum);
    _mm512_storeu_ps(sum, _mm512_fmadd_ps(all, _mm512_set1_ps(o->rescale[q]), page));
}

AVX512BF16 EVERY_ISA void softmax(const bool rough, const bool whole, const struct attn_softmax *in,
                                  uint64_t seen) {
    const struct attn_softmax o = *in;
    struct prefetch f = prefetch_bytes(o.next, o.next_bytes);
    prefetch_spread(&f, 1, 2 * o.m, 1);
    for (size_t q = 0; q < o.m; q += 4)
        find_maxima(rough, whole, &o, seen, q, &f);
    for (size_t q = 0; q < o.m; q++) {
        prefetch_step(&f);
        exponentials(rough, whole, &o, seen, q);
    }
}

AVX512BF16 static void softmax_avx512bf16(const struct attn_softmax *o) {
    const uint64_t below = o->to < KV_PAGE ? (UINT64_C(1) << o->to) - 1 : UINT64_MAX;
    const uint64_t seen = below & UINT64_MAX << o->from;
    if (o->rounded && seen == UINT64_MAX)
        softmax(true, true, o, seen);
    else if (o->rounded)
        softmax(true, false, o, seen);
    else
        softmax(false, false, o, seen);
}

void softmax_avx512bf16_fill(struct kernel_table *t) {
    t->attn.softmax = softmax_avx512bf16;
}
#endif
