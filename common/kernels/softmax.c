/* The online softmax of attention: the scores of a page become e^(score - max), as one more page of
 * each query's (Milakov and Gimelshein 2018; attention.c).
 *
 * One loop of C for every instruction set; soften_bf16.c has one by hand.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "kernels/tile.h"
#include "kernels/approx.h"

/* Compilers make no vectors of a maximum on their own. */
enum { LANES = 16 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef float lanes_half __attribute__((vector_size(LANES * sizeof(float) / 2)));
typedef float lanes_quarter __attribute__((vector_size(LANES * sizeof(float) / 4)));

typedef int32_t bits __attribute__((vector_size(sizeof(lanes))));
typedef int32_t bits_half __attribute__((vector_size(sizeof(lanes_half))));
typedef int32_t bits_quarter __attribute__((vector_size(sizeof(lanes_quarter))));

#define LARGER(a, b)               ((a) > (b) ? (a) : (b))
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

EVERY_ISA void soften_page(const bool fused, float *s, size_t m, size_t from, size_t to, float *max,
                           float *sum, float *shrink, uint16_t *rounded, const unsigned char *next,
                           size_t bytes) {
    struct fetch f = fetch_bytes(next, bytes);
    fetch_at_pace(&f, 1, 2 * m, 1);
    bool whole = from == 0 && to == KV_PAGE;
    for (size_t i = 0; i < m * KV_PAGE && !whole; i++)
        s[i] = i % KV_PAGE >= from && i % KV_PAGE < to ? s[i] : -INFINITY;
    for (size_t q = 0; q < m; q++) {
        fetch_step(&f);
        float top = LARGER(largest(s + q * KV_PAGE), max[q]);
        shrink[q] = max[q] - top; // e^-87.33 where nothing was: it shrinks zeros
        max[q] = top;
    }
    for (size_t q = 0; q < m; q++)
        shrink[q] = exp_below_0(fused, shrink[q]);
    for (size_t q = 0; q < m; q++) {
        fetch_step(&f);
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

/* Sums of other positions, each shrunk to the larger of both maxima. */
EVERY_ISA void add_sums(const bool fused, const struct attn_sums *all, const struct attn_sums *one,
                        size_t m, size_t head_dim) {
    for (size_t q = 0, n; q < m; q += n) {
        float a[LANES] = {0}, b[LANES] = {0};
        n = m - q < LANES ? m - q : LANES;
        for (size_t i = 0; i < n; i++) {
            float *max = all->max + q + i, top = LARGER(*max, one->max[q + i]);
            a[i] = *max == top ? 0 : *max - top;
            b[i] = one->max[q + i] == top ? 0 : one->max[q + i] - top;
            *max = top;
        }
        for (size_t i = 0; i < LANES; i++)
            a[i] = exp_below_0(fused, a[i]);
        for (size_t i = 0; i < LANES; i++)
            b[i] = exp_below_0(fused, b[i]);
        for (size_t i = 0; i < n; i++) {
            float *sum = all->sum + (q + i) * SUM_LANES, *acc = all->acc + (q + i) * head_dim;
            const float *sum_one = one->sum + (q + i) * SUM_LANES,
                        *acc_one = one->acc + (q + i) * head_dim;
            for (size_t l = 0; l < SUM_LANES; l++)
                sum[l] = sum[l] * a[i] + sum_one[l] * b[i];
            for (size_t d = 0; d < head_dim; d++)
                acc[d] = acc[d] * a[i] + acc_one[d] * b[i];
        }
    }
}

#define VARIANT(isa, target, fused)                                                                \
    target static void soften_##isa(float *s, size_t m, size_t from, size_t to, float *max,        \
                                    float *sum, float *shrink, uint16_t *rounded,                  \
                                    const unsigned char *next, size_t bytes) {                     \
        soften_page(fused, s, m, from, to, max, sum, shrink, rounded, next, bytes);                \
    }                                                                                              \
    target static void add_sums_##isa(const struct attn_sums *all, const struct attn_sums *one,    \
                                      size_t m, size_t head_dim) {                                 \
        add_sums(fused, all, one, m, head_dim);                                                    \
    }
VARIANT(c, , false)
#if defined(__x86_64__)
#include "kernels/x86.h"
VARIANT(avx2, AVX2, true)
VARIANT(avx512, AVX512, true)
#endif

void softmax_fill(struct kernel_table *t, enum isa isa) {
    switch (isa) {
    case ISA_BASELINE:
        t->soften = soften_c;
        t->add_sums = add_sums_c;
        break;
#if defined(__x86_64__)
    case ISA_AVX2:
        t->soften = soften_avx2;
        t->add_sums = add_sums_avx2;
        break;
    case ISA_AVX512:
        t->soften = soften_avx512;
        t->add_sums = add_sums_avx512;
        break;
#endif
    default:
        break;
    }
}
