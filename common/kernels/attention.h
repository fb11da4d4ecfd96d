/* Attention's inside: how its work is cut (attention.c), and how a piece of it is done (attend.c).
 * Private to common/kernels.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include "kernels/attn_kernel.h"
#include "kernels/kernels.h"

/* Rows [row, row + n) of one sequence, spans [span, span_end), KV heads [head, head_end). */
struct attn_piece {
    uint32_t row, n, span, span_end, head, head_end;
};

struct attn_job {
    const struct attn_call *call;
    size_t group; // query heads of one KV head
    bool rounded; // queries and probabilities, to bf16
    const struct attn_piece *pieces;
    size_t n_pieces;
    float *span_sums; // of each span of each row, where pieces are single spans; else NULL
    float *scratch;   // [threads, attn_queries_floats(m)]
    size_t m;         // queries that a thread has room for
};

/* The spans of one row that a thread has added up as it went: the piece of the first, and the piece
 * that would be next. */
struct attn_run {
    size_t first, next;
};

/* A thread's state for m queries, in the order of KV heads, rows, query heads of a KV head. */
struct attn_queries {
    float *q;                          // [m, k_dim], scaled
    float *s;                          // [m, KV_PAGE]: scores, then e^(score - max)
    float *rescale;                    // [m]
    uint16_t *q_rounded, *s_rounded;   // q [m, k_dim + 1 where odd] and s as bf16
    struct attn_sums span, spans, all; // of a span, of a group of spans, of all
    struct attn_run *run;
    float *part; // [k_dim + v_dim, KV_PAGE]: of a page in i8, keys and values of a head as f32
};

static inline size_t attn_padded(size_t n) { // floats, to whole cache lines
    return (n + 15) / 16 * 16;
}

/* Sums and queries in memory: N_floats() floats at p, a multiple of 64 bytes. Sizes of shapes that
 * attention_scratch() has accepted do not overflow. */
size_t attn_sums_floats(size_t m, size_t v_dim);
struct attn_sums attn_sums_at(float *p, size_t m);
struct attn_sums attn_sums_from(struct attn_sums s, size_t first, size_t v_dim); // queries >= first
size_t attn_queries_floats(size_t m, size_t k_dim, size_t v_dim);
struct attn_queries attn_queries_at(float *p, size_t m, size_t k_dim, size_t v_dim);

size_t attn_n_queries(const struct attn_job *j, const struct attn_piece *p);
void attn_load_queries(const struct attn_job *j, const struct attn_queries *u,
                       const struct attn_piece *p);
void attn_store_out(const struct attn_job *j, struct attn_sums sums, const struct attn_piece *p);

/* Sums [attn_n_queries(p)] of what the rows of p see of one of its spans, for the loaded queries.
 * At its end the first page of the piece `after` is prefetched. */
void attn_span(const struct attn_job *j, const struct attn_queries *u, struct attn_sums sums,
               const struct attn_piece *p, size_t span, const struct attn_piece *after);

#endif
