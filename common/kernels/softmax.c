/* The online softmax of attention in C: the scores of a page become e^(score - max), and what
 * earlier pages summed up is rescaled (Milakov and Gimelshein 2018).
 *
 * One loop for every instruction set, compiled again for each; softmax_avx512bf16.c has one written
 * by hand.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "kernels/prefetch.h"
#include "kernels/table.h"
#include "kernels/x86.h"

/* Vectors of GNU C: compilers do not make vector code of a maximum on their own. */
enum { LANES = 16 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef float lanes_half __attribute__((vector_size(LANES * sizeof(float) / 2)));
typedef float lanes_quarter __attribute__((vector_size(LANES * sizeof(float) / 4)));

typedef int32_t bits __attribute__((vector_size(sizeof(lanes))));
typedef int32_t bits_half __attribute__((vector_size(sizeof(lanes_half))));
typedef int32_t bits_quarter __attribute__((vector_size(sizeof(lanes_quarter))));

#define LARGER(a, b)               ((a) > (b) ? (a) : (b))
#define LARGER_OF(vec, mask, a, b) ((vec)(((mask)(a) & ((a) > (b))) | ((mask)(b) & ~((a) > (b)))))

/* The largest score of a page: by lanes, then halves of the lanes, down to one. */
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
/* sum [SUM_LANES] = sum * rescale + the exponentials e [KV_PAGE] of a page, by lanes. */
EVERY_ISA void add_page(float *sum, float rescale, const float *e) {
    for (size_t l = 0; l < SUM_LANES; l++) {
        float page = 0;
        for (size_t i = 0; i < KV_PAGE; i += SUM_LANES)
            page += e[i + l];
        sum[l] = sum[l] * rescale + page;
    }
}

EVERY_ISA float exp_below_0(const bool fused, float x) {
    return approx_exp_within(fused, x < -87.33f ? -87.33f : x);
}

/* e [KV_PAGE], the scores of a query, becomes e^(score - max); -INFINITY becomes 0. */
EVERY_ISA void exp_page(const bool fused, const bool whole, float *e, float max) {
    if (whole)
        for (size_t i = 0; i < KV_PAGE; i++)
            e[i] = exp_below_0(fused, e[i] - max);
    else
        for (size_t i = 0; i < KV_PAGE; i++)
            e[i] = e[i] == -INFINITY ? 0 : exp_below_0(fused, e[i] - max);
}

EVERY_ISA void softmax(const bool fused, const struct attn_softmax *o) {
    struct prefetch f = prefetch_bytes(o->next, o->next_bytes);
    const size_t m = o->m, from = o->from, to = o->to;
    const bool whole = from == 0 && to == KV_PAGE;
    float *s = o->s, *max = o->max, *rescale = o->rescale;
    uint16_t *rounded = o->rounded;
    prefetch_spread(&f, 1, 2 * m, 1);
    for (size_t i = 0; i < m * KV_PAGE && !whole; i++)
        s[i] = i % KV_PAGE >= from && i % KV_PAGE < to ? s[i] : -INFINITY;
    for (size_t q = 0; q < m; q++) {
        prefetch_step(&f);
        float top = LARGER(largest(s + q * KV_PAGE), max[q]);
        rescale[q] = max[q] - top; // e^-87.33 where there was nothing: it scales zeros
        max[q] = top;
    }
    for (size_t q = 0; q < m; q++)
        rescale[q] = exp_below_0(fused, rescale[q]);
    for (size_t q = 0; q < m; q++) {
        prefetch_step(&f);
        exp_page(fused, whole, s + q * KV_PAGE, max[q]);
        add_page(o->sum + q * SUM_LANES, rescale[q], s + q * KV_PAGE);
    }
    for (size_t i = 0; i < m * KV_PAGE && rounded; i++)
        rounded[i] = bf16_from_f32(s[i]);
}

/* Adds the sums of other positions, both rescaled to the larger maximum. */
EVERY_ISA void add_sums(const bool fused, const struct attn_sums *all, const struct attn_sums *one,
                        size_t m, size_t v_dim) {
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
            float *sum = all->sum + (q + i) * SUM_LANES, *acc = all->acc + (q + i) * v_dim;
            const float *sum_one = one->sum + (q + i) * SUM_LANES,
                        *acc_one = one->acc + (q + i) * v_dim;
            for (size_t l = 0; l < SUM_LANES; l++)
                sum[l] = sum[l] * a[i] + sum_one[l] * b[i];
            for (size_t d = 0; d < v_dim; d++)
                acc[d] = acc[d] * a[i] + acc_one[d] * b[i];
        }
    }
}

#define VARIANT(isa, target, fused)                                                                \
    target static void softmax_##isa(const struct attn_softmax *o) {                               \
        softmax(fused, o);                                                                         \
    }                                                                                              \
    target static void add_sums_##isa(const struct attn_sums *all, const struct attn_sums *one,    \
                                      size_t m, size_t v_dim) {                                    \
        add_sums(fused, all, one, m, v_dim);                                                       \
    }                                                                                              \
    void softmax_##isa##_fill(struct kernel_table *t) {                                            \
        t->attn.softmax = softmax_##isa;                                                           \
        t->attn.add_sums = add_sums_##isa;                                                         \
    }
VARIANT(c, , false)
#if KERNELS_X86
VARIANT(avx2, AVX2, true)
VARIANT(avx512, AVX512, true)
#endif
