/* What queries see: parts of a page, pages, spans (attention.h).
 *
 * A part is what a page holds for one KV head. Keys are stored transposed (kernels.h), so scores,
 * too, are weighted sums of rows of a matrix, without sums across the lanes of a vector.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/kv_page.h"
#include "kernels/table.h"

static size_t round_even(size_t n) {
    return n + n % 2;
}

/* ---- Memory ---- */

size_t attn_sums_floats(size_t m, size_t v_dim) {
    return attn_padded(m) + m * SUM_LANES + attn_padded(m * v_dim);
}
struct attn_sums attn_sums_at(float *p, size_t m) {
    float *sum = p + attn_padded(m);
    return (struct attn_sums){.max = p, .sum = sum, .acc = sum + m * SUM_LANES};
}
struct attn_sums attn_sums_from(struct attn_sums s, size_t first, size_t v_dim) {
    return (struct attn_sums){s.max + first, s.sum + first * SUM_LANES, s.acc + first * v_dim};
}
static void sums_clear(struct attn_sums s, size_t m, size_t v_dim) {
    for (size_t i = 0; i < m; i++)
        s.max[i] = -INFINITY;
    memset(s.sum, 0, m * SUM_LANES * sizeof *s.sum);
    memset(s.acc, 0, m * v_dim * sizeof *s.acc);
}

size_t attn_queries_floats(size_t m, size_t k_dim, size_t v_dim) {
    return attn_padded(m * k_dim) + m * KV_PAGE + attn_padded(m) +
           attn_padded(m * round_even(k_dim) / 2) + m * KV_PAGE / 2 +
           3 * attn_sums_floats(m, v_dim) + attn_padded(sizeof(struct attn_run) / sizeof(float)) +
           (k_dim + v_dim) * KV_PAGE;
}
struct attn_queries attn_queries_at(float *p, size_t m, size_t k_dim, size_t v_dim) {
    struct attn_queries u = {.q = p, .s = p + attn_padded(m * k_dim)};
    u.rescale = u.s + m * KV_PAGE;
    float *sums = u.rescale + attn_padded(m), *after = sums + 3 * attn_sums_floats(m, v_dim);
    u.span = attn_sums_at(sums, m);
    u.spans = attn_sums_at(sums + attn_sums_floats(m, v_dim), m);
    u.all = attn_sums_at(sums + 2 * attn_sums_floats(m, v_dim), m);
    u.run = (struct attn_run *)(void *)after;
    u.s_rounded = (uint16_t *)(void *)(after + attn_padded(sizeof *u.run / sizeof *after));
    u.q_rounded = u.s_rounded + m * KV_PAGE;
    u.part = p + attn_queries_floats(m, k_dim, v_dim) - (k_dim + v_dim) * KV_PAGE;
    return u;
}

/* ---- Queries in, outputs out ---- */

size_t attn_n_queries(const struct attn_job *j, const struct attn_piece *p) {
    return p->n * j->group * (p->head_end - p->head);
}
/* Query i of a piece: its row and head. */
static size_t row_of(const struct attn_job *j, const struct attn_piece *p, size_t i) {
    return p->row + i / j->group % p->n;
}
static size_t head_of(const struct attn_job *j, const struct attn_piece *p, size_t i) {
    return (p->head + i / j->group / p->n) * j->group + i % j->group;
}

void attn_load_queries(const struct attn_job *j, const struct attn_queries *u,
                       const struct attn_piece *p) {
    const struct attn_call *c = j->call;
    size_t dim = c->kv->k_dim;
    for (size_t i = 0; i < attn_n_queries(j, p); i++) {
        const float *q = c->q + row_of(j, p, i) * c->ldq + head_of(j, p, i) * dim;
        for (size_t d = 0; d < dim; d++)
            u->q[i * dim + d] = q[d] * c->scale;
        if (j->rounded)
            kernel.attn.round(u->q_rounded + i * round_even(dim), u->q + i * dim, dim);
    }
}

void attn_store_out(const struct attn_job *j, struct attn_sums sums, const struct attn_piece *p) {
    const struct attn_call *c = j->call;
    size_t dim = c->kv->v_dim;
    for (size_t i = 0; i < attn_n_queries(j, p); i++) {
        float *out = c->out + row_of(j, p, i) * c->ldo + head_of(j, p, i) * dim;
        float sum = approx_sum_lanes(sums.sum + i * SUM_LANES);
        for (size_t d = 0; d < dim; d++)
            out[d] = sums.acc[i * dim + d] / sum;
    }
}

/* ---- Parts, pages, spans ---- */

/* Queries [first, first + m) that see positions [from, to) of a part; `next` is the part after it,
 * which is prefetched at the same time: some of it in each of the three steps. */
struct seen {
    size_t first, m, from, to;
    const unsigned char *keys, *values, *next;
};

static void attend_part(const struct attn_job *j, const struct attn_queries *u,
                        struct attn_sums sums, const struct seen *a) {
    const struct kv_layer *kv = j->call->kv;
    const size_t k_dim = kv->k_dim, v_dim = kv->v_dim, even = round_even(k_dim);
    const size_t bytes = kv_page_bytes(1, k_dim, v_dim, kv->type);
    const size_t by_softmax = bytes / ATTN_SOFTMAX_SHARE, by_sum = (bytes - by_softmax) / 2;
    void (*weighted_sum)(const struct attn_weighted_sum *) =
        j->rounded ? kernel.attn.sum_bf16
                   : (kv->type == KV_BF16 ? kernel.attn.sum_pairs : kernel.attn.sum_f32);
    const struct attn_weighted_sum scores = {
        .c = u->s,
        .ldc = KV_PAGE,
        .a = j->rounded ? (const void *)(u->q_rounded + a->first * even) : u->q + a->first * k_dim,
        .lda = j->rounded ? even : k_dim,
        .b = a->keys,
        .ldb = KV_PAGE,
        .m = a->m,
        .end = k_dim,
        .cols = KV_PAGE,
        .next = a->next,
        .next_bytes = by_sum};
    weighted_sum(&scores);
    if (j->call->softcap > 0)
        kernel.rows.softcap(u->s, a->m * KV_PAGE, j->call->softcap);
    sums = attn_sums_from(sums, a->first, v_dim);
    const struct attn_softmax softmax = {.s = u->s,
                                         .m = a->m,
                                         .from = a->from,
                                         .to = a->to,
                                         .max = sums.max,
                                         .sum = sums.sum,
                                         .rescale = u->rescale,
                                         .rounded = j->rounded ? u->s_rounded : NULL,
                                         .next = a->next + by_sum,
                                         .next_bytes = by_softmax};
    kernel.attn.softmax(&softmax);
    const struct attn_weighted_sum outputs = {.c = sums.acc,
                                              .ldc = v_dim,
                                              .rescale = u->rescale,
                                              .a = j->rounded ? (const void *)u->s_rounded : u->s,
                                              .lda = KV_PAGE,
                                              .b = a->values,
                                              .ldb = v_dim,
                                              .m = a->m,
                                              .begin = a->from,
                                              .end = a->to,
                                              .cols = v_dim,
                                              .next = a->next + by_sum + by_softmax,
                                              .next_bytes = by_sum};
    weighted_sum(&outputs);
}

static size_t seen_from(const struct attn_row *row, size_t page) {
    size_t begin = page * KV_PAGE;
    return row->first <= begin ? 0 : row->first - begin < KV_PAGE ? row->first - begin : KV_PAGE;
}
static size_t seen_to(const struct attn_row *row, size_t page) {
    size_t begin = page * KV_PAGE;
    return row->last < begin ? 0 : row->last - begin < KV_PAGE ? row->last - begin + 1 : KV_PAGE;
}

/* What n rows see of a page for one KV head: queries from a.first on. If all rows see the same
 * positions of it, they go together: the whole page, or the end of an encoder's sequence. Else each
 * row takes what it sees, which gives the same bits. */
static void attend_page(const struct attn_job *j, const struct attn_queries *u,
                        struct attn_sums sums, const struct attn_piece *p, size_t page,
                        struct seen a) {
    const struct attn_row *rows = j->call->rows + p->row;
    size_t same = 0;
    a.from = seen_from(&rows[0], page);
    a.to = seen_to(&rows[0], page);
    for (size_t i = 0; i < p->n; i++)
        same += seen_from(&rows[i], page) == a.from && seen_to(&rows[i], page) == a.to;
    if (same == p->n) {
        a.m = p->n * j->group;
        if (a.from < a.to)
            attend_part(j, u, sums, &a);
        return;
    }
    a.m = j->group;
    for (size_t i = 0; i < p->n; i++, a.first += j->group) {
        a.from = seen_from(&rows[i], page);
        a.to = seen_to(&rows[i], page);
        if (a.from < a.to)
            attend_part(j, u, sums, &a);
    }
}

/* The pages of a span that some row of p sees: the first one, and where they end. */
static size_t first_page(const struct attn_job *j, const struct attn_piece *p, size_t span) {
    size_t page = (span + 1) * ATTN_SPAN_PAGES;
    for (size_t i = 0; i < p->n; i++) {
        size_t first = j->call->rows[p->row + i].first / KV_PAGE;
        page = first < page ? first : page;
    }
    return page < span * ATTN_SPAN_PAGES ? span * ATTN_SPAN_PAGES : page;
}
static size_t page_end(const struct attn_job *j, const struct attn_piece *p, size_t span) {
    size_t end = 0;
    for (size_t i = 0; i < p->n; i++) {
        size_t last = j->call->rows[p->row + i].last / KV_PAGE;
        end = last + 1 > end ? last + 1 : end;
    }
    return end < (span + 1) * ATTN_SPAN_PAGES ? end : (span + 1) * ATTN_SPAN_PAGES;
}
static const unsigned char *first_part(const struct attn_job *j, const struct attn_piece *p,
                                       size_t span) {
    const struct attn_call *c = j->call;
    return kv_page_keys(c->kv, c->rows[p->row].pages[first_page(j, p, span)], p->head);
}

void attn_span(const struct attn_job *j, const struct attn_queries *u, struct attn_sums sums,
               const struct attn_piece *p, size_t span, const struct attn_piece *after) {
    const struct attn_row *rows = j->call->rows + p->row;
    const struct kv_layer *kv = j->call->kv;
    size_t m = p->n * j->group, page = first_page(j, p, span), end = page_end(j, p, span);
    size_t part_bytes = kv_page_bytes(1, kv->k_dim, kv->v_dim, kv->type),
           key_bytes = kv_key_bytes(kv->k_dim, kv->type);
    sums_clear(sums, attn_n_queries(j, p), kv->v_dim);
    for (const unsigned char *part = first_part(j, p, span), *next; page < end; page++) {
        const unsigned char *next_page;
        if (page + 1 < end)
            next_page = kv_page_keys(kv, rows->pages[page + 1], p->head);
        else
            next_page = span + 1 < p->span_end ? first_part(j, p, span + 1)
                                               : first_part(j, after, after->span);
        for (size_t h = p->head; h < p->head_end; h++, part = next) {
            next = h + 1 < p->head_end ? part + part_bytes : next_page;
            struct seen a = {
                .first = (h - p->head) * m, .keys = part, .values = part + key_bytes, .next = next};
            if (kv->type == KV_I8) {
                kv_i8_widen(u->part, kv, part);
                a.keys = (const unsigned char *)u->part;
                a.values = (const unsigned char *)(u->part + kv->k_dim * KV_PAGE);
            }
            attend_page(j, u, sums, p, page, a);
        }
    }
}
