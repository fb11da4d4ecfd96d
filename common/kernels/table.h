/* The kernel table: what differs between instruction sets. Private to common/kernels; see kernels.h
 * for meanings.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TABLE_H
#define KERNELS_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "kernels/approx.h"

enum isa { ISA_BASELINE, ISA_C, ISA_AVX2, ISA_AVX512, ISA_AVX512BF16, ISA_COUNT };

/* The types a weight may have in a matmul. */
enum wtype { W_BF16, W_F16, W_F32, W_COUNT };

/* How a matmul with several rows goes through the caches: see matmul.c. */
enum {
    ROW_BYTES = 4096, // of a row of x: a tile's rows, so much of each, stay in L1
    FEW_BYTES = 2048, // the same where all rows are fewer than CUT_ROWS: then all of them do
    CUT_ROWS = 24,    // longer rows are cut, and so many go together at most,
    CHUNK_OUTS =
        48, // with as many rows of w, which stay in L2 meanwhile: a multiple of every tile's OUTS
    STRIP_ROWS = 6, // of rounded x that go through a tile together,
    TALL_ROWS = 8,  // or so many where that saves going through w once more,
    SIDE = 32       // elements of each of whose rows lie side by side: one stream, not six
};

/* Whether n rows of rounded x make tall strips: where they are few. */
static inline bool tall(size_t n_rows) {
    return n_rows > STRIP_ROWS && n_rows < CUT_ROWS;
}
static inline size_t strips_of(size_t n_rows) {
    return tall(n_rows) ? (n_rows + TALL_ROWS - 1) / TALL_ROWS
                        : (n_rows + STRIP_ROWS - 1) / STRIP_ROWS;
}
/* Rows of the next of so many strips, where so many rows are left: about as many in each. */
static inline size_t strip_rows(size_t rows_left, size_t strips_left) {
    return (rows_left + strips_left - 1) / strips_left;
}

/* What of the weights is not in a cache yet: w itself, and what is multiplied after it (n: 0: not
 * said). */
struct rows_of_w {
    const unsigned char *w;
    size_t n;
};
struct cold {
    bool here;
    struct rows_of_w next;
};

/* y [n_rows, n_out] (stride ldy) = x [n_rows, n_in] (stride ldx) w [n_out, n_in]^T + bias, on the
 * calling thread. x is f32, or for matmul_rounded bf16 in strips, that of rows from r on at x + r *
 * ldx, [n_in / SIDE][rows][SIDE]; at most CUT_ROWS rows where one is longer than ROW_BYTES. See
 * matmul_tile.h. */
typedef void matmul_fn(float *y, size_t ldy, const void *x, size_t ldx, size_t n_rows,
                       const unsigned char *w, size_t n_out, size_t n_in, const float *bias,
                       struct cold cold);

/* c [m, cols] = c * shrink [m] + a [m, end] b [end, cols], rows of b from `begin` on; shrink NULL:
 * c starts from zero. ldb in units of 4 bytes. Meanwhile `bytes` at `next`, which will be wanted
 * then, are fetched. See mix_tile.h. */
typedef void mix_fn(float *c, size_t ldc, const float *shrink, const void *a, size_t lda,
                    const void *b, size_t ldb, size_t m, size_t begin, size_t end, size_t cols,
                    const unsigned char *next, size_t bytes);

/* What m queries have summed up: e^(score - max), and values weighed by it. */
struct attn_sums {
    float *max; // [m]
    float *sum; // [m, SUM_LANES], whose vec_sum_lanes() counts
    float *acc; // [m, head_dim]
};

struct kernel_table {
    enum isa isa;
    matmul_fn *matmul[W_COUNT]; // by the type of w
    matmul_fn *matmul_rounded;  // BF16 weights with x rounded to bf16; NULL: not faster here
    /* Weights as f32, for many rows of x; NULL where making them f32 beside the multiply-adds costs
     * nothing. */
    void (*unpack[W_COUNT])(float *to, const unsigned char *w, size_t n);
    /* y = x [n_rows, n] (stride ldx) to nearest even, a strip: SIDE elements of each row in turn.
     */
    void (*round_bf16)(uint16_t *y, const float *x, size_t ldx, size_t n_rows, size_t n);
    mix_fn *mix_f32, *mix_pairs; // a f32; b f32, or pairs of bf16
    mix_fn *mix_rounded;         // a bf16, b pairs of bf16; NULL: not faster here
    /* m queries' scores s [m, KV_PAGE] of a page, of which they see [from, to), become e^(score -
     * max), zero elsewhere: in s, or as bf16 in `rounded` (NULL: not; s is left undefined). max [m]
     * and sum [m, SUM_LANES], whose vec_sum_lanes() counts, go on; shrink [m] is what earlier sums
     * are to be multiplied with. Meanwhile `bytes` at `next` are fetched. See soften.c. */
    void (*soften)(float *s, size_t m, size_t from, size_t to, float *max, float *sum,
                   float *shrink, uint16_t *rounded, const unsigned char *next, size_t bytes);
    /* Adds `one` to `all`, which may be without any position yet (max -INFINITY, zeros). */
    void (*add_sums)(const struct attn_sums *all, const struct attn_sums *one, size_t m,
                     size_t head_dim);
    void (*rmsnorm)(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                    const float *weight, float weight_offset, float eps);
    void (*layernorm)(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                      const float *weight, const float *bias, float eps);
    void (*activate)(enum activation a, float *x, size_t ldx, size_t n_rows, size_t n);
    void (*activate_mul)(enum activation a, float *gate, size_t ldg, const float *up, size_t ldu,
                         size_t n_rows, size_t n);
    void (*add_scaled)(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                       float s);
    void (*rope)(float *x, size_t n_heads, size_t head_dim, size_t rotary, const float *cos,
                 const float *sin);
    void (*softcap)(float *x, size_t n, float cap);
};

extern struct kernel_table kernel; // the one global

/* Each puts its functions for exactly this instruction set into the table, and leaves what it has
 * none for. */
void tiles_c_fill(struct kernel_table *t, enum isa isa);
void tiles_fill(struct kernel_table *t, enum isa isa);
void softmax_fill(struct kernel_table *t, enum isa isa);
void softmax_bf16_fill(struct kernel_table *t, enum isa isa);
void row_ops_fill(struct kernel_table *t, enum isa isa);

#endif
