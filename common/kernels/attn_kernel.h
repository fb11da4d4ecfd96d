/* The seam between attention (attend.c) and its kernels: what an instruction set provides.
 *
 * All pages have KV_PAGE positions. A kernel must give each query the same bits whatever the other
 * queries are.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_ATTN_KERNEL_H
#define KERNELS_ATTN_KERNEL_H

#include <stddef.h>
#include <stdint.h>

/* c [m, cols] = c * rescale [m] + a [m, end] b [end, cols], rows of b from `begin` on. */
struct attn_weighted_sum {
    float *c; // stride ldc
    size_t ldc;
    const float *rescale; // NULL: c starts from zero
    const void *a;        // f32 or bf16, stride lda in elements
    size_t lda;
    const void *b; // f32, or pairs of bf16; stride ldb in units of 4 bytes
    size_t ldb;
    size_t m, begin, end, cols;
    // Prefetched at the same time.
    const unsigned char *next;
    size_t next_bytes;
};

/* Sums of m queries: e^(score - max), and values weighted by it. */
struct attn_sums {
    float *max; // [m]
    float *sum; // [m, SUM_LANES], to be added up by approx_sum_lanes()
    float *acc; // [m, v_dim]
};

/* The online softmax of a page. m queries, which see positions [from, to) of it, have scores
 * s [m, KV_PAGE]. These become e^(score - max), zero where a position is not seen: in s, or as bf16
 * in `rounded` (NULL: not), and then s is undefined. */
struct attn_softmax {
    float *s;
    size_t m, from, to;
    float *max, *sum;  // of struct attn_sums: updated
    float *rescale;    // [m]: what earlier sums are to be multiplied by
    uint16_t *rounded; // [m, KV_PAGE]
    // Prefetched at the same time.
    const unsigned char *next;
    size_t next_bytes;
};

struct attn_kernels {
    void (*sum_f32)(const struct attn_weighted_sum *w);   // a f32, b f32
    void (*sum_pairs)(const struct attn_weighted_sum *w); // a f32, b pairs of bf16
    // a bf16, b pairs of bf16, and the rounding of n floats to bf16. NULL: not faster here.
    void (*sum_bf16)(const struct attn_weighted_sum *w);
    void (*round)(uint16_t *to, const float *x, size_t n);
    void (*softmax)(const struct attn_softmax *o);
    // Adds `one` to `all`, which may have no position yet (max -INFINITY, zeros).
    void (*add_sums)(const struct attn_sums *all, const struct attn_sums *one, size_t m,
                     size_t v_dim);
};

/* Inside a kernel: one row of b or two (which: LOWER, UPPER) with their elements of a. */
enum { LOWER = 1, UPPER = 2 };
struct sum_rows {
    const unsigned char *a, *b;
    size_t lda;
};

#endif
