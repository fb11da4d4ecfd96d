/* Attention's inside: how its work is cut (attention.c), and what is done with a piece of it
 * (attend.c). Private to common/kernels.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_ATTENTION_H
#define KERNELS_ATTENTION_H

#include "kernels/table.h"

enum {
    SPAN = 16, // pages whose positions are summed up by themselves,
    SPANS = 4  // and spans whose sums are added up before they are to others'
};

/* Rows [row, row + n) of one sequence, spans [span, span_end), KV heads [head, head_end). */
struct attn_piece {
    uint32_t row, n, span, span_end, head, head_end;
};

struct attn_job {
    const struct kv_layer *kv;
    const struct attn_row *rows;
    float *out; // [n_rows, n_heads * head_dim], stride ldo
    size_t ldo;
    const float *q; // [n_rows, n_heads * head_dim], stride ldq
    size_t ldq;
    size_t n_heads, group; // query heads: all, of one KV head
    float scale, softcap;
    bool rounded; // queries and probabilities, to bf16
    const struct attn_piece *pieces;
    size_t n_pieces;
    float *
        cut_sums; // of each cut, where pieces are single spans; NULL where they have all of a row's
    float *scratch; // [threads, queries_floats(m)]
    size_t m;       // queries that a thread has room for
};

/* The spans that a thread adds up as it goes: the piece of the first of them, and the one that
 * would be next. */
struct adding {
    size_t first, next;
};

/* A thread's state for m queries, in the order of KV heads, rows, query heads of a KV head. */
struct queries {
    float *q;                        // [m, head_dim], scaled
    float *s;                        // [m, KV_PAGE]: scores, then e^(score - max)
    float *shrink;                   // [m]
    uint16_t *q_rounded, *s_rounded; // q [m, head_dim + 1 where odd] and s as bf16
    struct attn_sums span, spans, all;
    struct adding *adding;
};

static inline size_t padded(size_t n) { // floats, to whole cache lines
    return (n + 15) / 16 * 16;
}

/* Both lie in so many floats at p, a multiple of 64 bytes. */
size_t sums_floats(size_t m, size_t head_dim);
struct attn_sums sums_at(float *p, size_t m);
size_t queries_floats(size_t m, size_t head_dim);
struct queries queries_at(float *p, size_t m, size_t head_dim);

struct attn_sums sums_from(struct attn_sums s, size_t first,
                           size_t head_dim); // those of query `first` and behind it

size_t queries_in(const struct attn_job *j, const struct attn_piece *p);
void load_queries(const struct attn_job *j, const struct queries *u, const struct attn_piece *p);
void store_out(const struct attn_job *j, struct attn_sums sums, const struct attn_piece *p);

/* What the rows of p see of one of its spans, in sums [queries_in(p)], for the queries loaded. At
 * its end the first page of the piece `behind` is fetched. */
void attend_span(const struct attn_job *j, const struct queries *u, struct attn_sums sums,
                 const struct attn_piece *p, size_t span, const struct attn_piece *behind);

#endif
