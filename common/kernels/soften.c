/* The online softmax of attention: the scores of a page become e^(score - max), as one more page of each query's
 * (Milakov and Gimelshein 2018; attention.c).
 *
 * One loop of C for every instruction set, and one by hand for AVX512-BF16, where multiplying is so quick that the
 * exponentials would take a quarter of the time: 2^t by one polynomial, the instructions that round to whole and multiply with
 * powers of two, and rounding to bf16 while the results are still in registers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "kernels/table.h"
#include "kernels/vec.h"

/* Compilers make no vectors of a maximum on their own. */
enum { LANES = 16 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef float lanes_half __attribute__((vector_size(LANES * sizeof(float) / 2)));
typedef float lanes_quarter __attribute__((vector_size(LANES * sizeof(float) / 4)));

typedef int32_t bits __attribute__((vector_size(sizeof(lanes))));
typedef int32_t bits_half __attribute__((vector_size(sizeof(lanes_half))));
typedef int32_t bits_quarter __attribute__((vector_size(sizeof(lanes_quarter))));

#define LARGER(a, b) ((a) > (b) ? (a) : (b))
#define LARGER_OF(vec, mask, a, b) ((vec)(((mask)(a) & ((a) > (b))) | ((mask)(b) & ~((a) > (b)))))

/* The largest of a page's scores: by lanes, then of halves of these, down to one. */
EVERY_ISA float largest(const float *s) {
    lanes all, v;
    lanes_half halves[2], half;
    lanes_quarter quarters[2], one;
    memcpy(&all, s, sizeof all);
    for (size_t i = LANES; i < KV_PAGE; i += LANES) {
        memcpy(&v, s + i, sizeof v);
        all = LARGER_OF(lanes, bits, v, all);
    }
    memcpy(halves, &all, sizeof all);
    half = LARGER_OF(lanes_half, bits_half, halves[0], halves[1]);
    memcpy(quarters, &half, sizeof half);
    one = LARGER_OF(lanes_quarter, bits_quarter, quarters[0], quarters[1]);
    float a = LARGER(one[0], one[2]), b = LARGER(one[1], one[3]);
    return LARGER(a, b);
}
/* sum [SUM_LANES] = sum * shrink + a page's exponentials, by lanes */
EVERY_ISA void add_page(float *sum, float shrink, const float *e) {
    for (size_t l = 0; l < SUM_LANES; l++) {
        float page = 0;
        for (size_t i = 0; i < KV_PAGE; i += SUM_LANES)
            page += e[i + l];
        sum[l] = sum[l] * shrink + page;
    }
}

EVERY_ISA float exp_below_0(const bool fused, float x) {
    return vec_exp_within(fused, x < -87.33f ? -87.33f : x);
}

EVERY_ISA void cap_scores(float *s, size_t n, float softcap) {
    for (size_t i = 0; i < n && softcap > 0; i++)
        s[i] = softcap * vec_tanh(s[i] / softcap);
}

EVERY_ISA void soften_page(const bool fused, float *s, size_t m, size_t from, size_t to, float softcap, float *max,
                           float *sum, float *shrink, uint16_t *rounded) {
    bool whole = from == 0 && to == KV_PAGE;
    cap_scores(s, m * KV_PAGE, softcap);
    for (size_t i = 0; i < m * KV_PAGE && !whole; i++)
        s[i] = i % KV_PAGE >= from && i % KV_PAGE < to ? s[i] : -INFINITY;
    for (size_t q = 0; q < m; q++) {
        float top = LARGER(largest(s + q * KV_PAGE), max[q]);
        shrink[q] = max[q] - top; // e^-87.33 where nothing was: it shrinks zeros
        max[q] = top;
    }
    for (size_t q = 0; q < m; q++)
        shrink[q] = exp_below_0(fused, shrink[q]);
    for (size_t q = 0; q < m; q++) {
        float top = max[q], *one = s + q * KV_PAGE;
        if (whole)
            for (size_t i = 0; i < KV_PAGE; i++)
                one[i] = exp_below_0(fused, one[i] - top);
        else
            for (size_t i = 0; i < KV_PAGE; i++)
                one[i] = one[i] == -INFINITY ? 0 : exp_below_0(fused, one[i] - top);
        add_page(sum + q * SUM_LANES, shrink[q], one);
    }
    for (size_t i = 0; i < m * KV_PAGE && rounded; i++)
        rounded[i] = vec_bf16_from_f32(s[i]);
}

#define VARIANT(isa, target, fused)                                                                                 \
    target static void soften_##isa(float *s, size_t m, size_t from, size_t to, float softcap, float *max,          \
                                    float *sum, float *shrink, uint16_t *rounded) {                                 \
        soften_page(fused, s, m, from, to, softcap, max, sum, shrink, rounded);                                     \
    }
VARIANT(c, , false)
#if defined(__x86_64__)
#include "kernels/x86.h"
VARIANT(avx2, AVX2, true)
VARIANT(avx512, AVX512, true)

enum { VECTORS = KV_PAGE / 16 };

/* 2^t: t = n + f with n whole, |f| <= 0.5, 2^f by the polynomial of degree 5 whose largest relative error there is least
 * (7.5e-8, by Remez's algorithm). Below -127, the 2^-127 of a t that is not a number but very small. */
AVX512BF16 EVERY_ISA __m512 exp2_of(__m512 t) {
    t = _mm512_max_ps(_mm512_set1_ps(-127), t); // NaN stays: the second operand counts
    __m512 n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), f = _mm512_sub_ps(t, n);
    __m512 p = _mm512_set1_ps(1.3276472e-3f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(9.67554133e-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(5.55071327e-2f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240221197f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693146967f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.00000007f));
    return _mm512_scalef_ps(p, n);
}

AVX512BF16 static void soften_avx512bf16(float *s, size_t m, size_t from, size_t to, float softcap, float *max,
                                         float *sum, float *shrink, uint16_t *rounded) {
    const __m512 log2e = _mm512_set1_ps(1.44269504f), none = _mm512_set1_ps(-INFINITY);
    const uint64_t seen = (to < KV_PAGE ? (UINT64_C(1) << to) - 1 : UINT64_MAX) & UINT64_MAX << from;
    cap_scores(s, m * KV_PAGE, softcap);
    for (size_t q = 0; q < m; q++) {
        __m512 top = _mm512_set1_ps(max[q]);
        for (size_t i = 0; i < VECTORS; i++)
            top = _mm512_max_ps(_mm512_mask_loadu_ps(none, (__mmask16)(seen >> 16 * i), s + q * KV_PAGE + i * 16), top);
        float largest = _mm512_reduce_max_ps(top);
        shrink[q] = (max[q] - largest) * 1.44269504f;
        max[q] = largest;
    }
    for (size_t q = 0; q < m; q += 16) {
        __mmask16 some = (__mmask16)(m - q < 16 ? (1u << (m - q)) - 1 : 0xFFFF);
        _mm512_mask_storeu_ps(shrink + q, some, exp2_of(_mm512_maskz_loadu_ps(some, shrink + q)));
    }
    for (size_t q = 0; q < m; q++) {
        float *one = s + q * KV_PAGE;
        __m512 top = _mm512_mul_ps(_mm512_set1_ps(max[q]), log2e), e[VECTORS];
        UNROLLED for (size_t i = 0; i < VECTORS; i++) {
            __m512 t = _mm512_fmsub_ps(_mm512_loadu_ps(one + i * 16), log2e, top);
            e[i] = _mm512_maskz_mov_ps((__mmask16)(seen >> 16 * i), exp2_of(t));
        }
        if (rounded)
            UNROLLED for (size_t i = 0; i < VECTORS; i += 2)
                _mm512_storeu_si512(rounded + q * KV_PAGE + i * 16, (__m512i)_mm512_cvtne2ps_pbh(e[i + 1], e[i]));
        else
            UNROLLED for (size_t i = 0; i < VECTORS; i++)
                _mm512_storeu_ps(one + i * 16, e[i]);
        __m512 page = _mm512_add_ps(_mm512_add_ps(e[0], e[1]), _mm512_add_ps(e[2], e[3]));
        __m512 all = _mm512_loadu_ps(sum + q * SUM_LANES);
        _mm512_storeu_ps(sum + q * SUM_LANES, _mm512_fmadd_ps(all, _mm512_set1_ps(shrink[q]), page));
    }
}
#endif

void soften_fill(struct kernel_table *t, enum isa isa) {
    switch (isa) {
    case ISA_BASELINE:
        t->soften = soften_c;
        break;
#if defined(__x86_64__)
    case ISA_AVX2:
        t->soften = soften_avx2;
        break;
    case ISA_AVX512:
        t->soften = soften_avx512;
        break;
    case ISA_AVX512BF16:
        t->soften = soften_avx512bf16;
        break;
#endif
    default:
        break;
    }
}
