/* What queries see: parts of a page, pages, spans (attention.h).
 *
 * Keys lie transposed (kernels.h): then scores, too, are rows of a matrix weighed and added,
 * without sums across the lanes of a vector.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/attention.h"

#include <math.h>
#include <string.h>

#include "kernels/kv_page.h"

enum {
    SOFTENING = 16
}; // the part of the time, where it matters, and so of what is fetched: memory never waits

static size_t round_even(size_t n) {
    return n + n % 2;
}

size_t sums_floats(size_t m, size_t head_dim) {
    return padded(m) + m * SUM_LANES + padded(m * head_dim);
}
struct attn_sums sums_at(float *p, size_t m) {
    return (struct attn_sums){.max = p, .sum = p + padded(m), .acc = p + padded(m) + m * SUM_LANES};
}
struct attn_sums sums_from(struct attn_sums s, size_t first, size_t head_dim) {
    return (struct attn_sums){s.max + first, s.sum + first * SUM_LANES, s.acc + first * head_dim};
}
static void sums_clear(struct attn_sums s, size_t m, size_t head_dim) {
    for (size_t i = 0; i < m; i++)
        s.max[i] = -INFINITY;
    memset(s.sum, 0, m * SUM_LANES * sizeof *s.sum);
    memset(s.acc, 0, m * head_dim * sizeof *s.acc);
}

size_t queries_floats(size_t m, size_t hd) {
    return padded(m * hd) + m * KV_PAGE + padded(m) + padded(m * round_even(hd) / 2) +
           m * KV_PAGE / 2 + 3 * sums_floats(m, hd) + padded(sizeof(struct adding) / sizeof(float));
}
struct queries queries_at(float *p, size_t m, size_t hd) {
    struct queries u = {.q = p, .s = p + padded(m * hd)};
    u.shrink = u.s + m * KV_PAGE;
    float *sums = u.shrink + padded(m), *behind = sums + 3 * sums_floats(m, hd);
    u.span = sums_at(sums, m);
    u.spans = sums_at(sums + sums_floats(m, hd), m);
    u.all = sums_at(sums + 2 * sums_floats(m, hd), m);
    u.adding = (struct adding *)(void *)behind;
    u.s_rounded = (uint16_t *)(void *)(behind + padded(sizeof *u.adding / sizeof *behind));
    u.q_rounded = u.s_rounded + m * KV_PAGE;
    return u;
}

size_t queries_in(const struct attn_job *j, const struct attn_piece *p) {
    return p->n * j->group * (p->head_end - p->head);
}
/* Query i of a piece: its row and head. */
static size_t row_of(const struct attn_job *j, const struct attn_piece *p, size_t i) {
    return p->row + i / j->group % p->n;
}
static size_t head_of(const struct attn_job *j, const struct attn_piece *p, size_t i) {
    return (p->head + i / j->group / p->n) * j->group + i % j->group;
}

void load_queries(const struct attn_job *j, const struct queries *u, const struct attn_piece *p) {
    size_t hd = j->kv->head_dim;
    for (size_t i = 0; i < queries_in(j, p); i++) {
        const float *q = j->q + row_of(j, p, i) * j->ldq + head_of(j, p, i) * hd;
        for (size_t d = 0; d < hd; d++)
            u->q[i * hd + d] = q[d] * j->scale;
        if (j->rounded)
            kernel.round_bf16(u->q_rounded + i * round_even(hd), u->q + i * hd, hd, 1, hd);
    }
}

void store_out(const struct attn_job *j, struct attn_sums sums, const struct attn_piece *p) {
    size_t hd = j->kv->head_dim;
    for (size_t i = 0; i < queries_in(j, p); i++) {
        float *out = j->out + row_of(j, p, i) * j->ldo + head_of(j, p, i) * hd;
        float sum = vec_sum_lanes(sums.sum + i * SUM_LANES);
        for (size_t d = 0; d < hd; d++)
            out[d] = sums.acc[i * hd + d] / sum;
    }
}

/* The queries [first, first + m) of u, which all see [from, to) of a head's part of a page; `next`
 * is the part behind it, whose page is fetched meanwhile. */
static void attend_part(const struct attn_job *j, const struct queries *u, struct attn_sums sums,
                        size_t first, size_t m, const unsigned char *part,
                        const unsigned char *next, size_t from, size_t to) {
    const struct kv_layer *kv = j->kv;
    size_t hd = kv->head_dim, even = round_even(hd), key_bytes = kv_key_bytes(hd, kv->f32);
    const unsigned char *values = part + key_bytes;
    size_t bytes = kv_page_bytes(1, hd, kv->f32), softening = bytes / SOFTENING,
           mixing = (bytes - softening) / 2;
    const void *q = j->rounded ? (const void *)(u->q_rounded + first * even) : u->q + first * hd;
    const void *weights = j->rounded ? (const void *)u->s_rounded : u->s;
    mix_fn *mix = j->rounded ? kernel.mix_rounded : kv->f32 ? kernel.mix_f32 : kernel.mix_pairs;
    sums = sums_from(sums, first, hd);
    mix(u->s, KV_PAGE, NULL, q, j->rounded ? even : hd, part, KV_PAGE, m, 0, hd, KV_PAGE, next,
        mixing);
    if (j->softcap > 0)
        kernel.softcap(u->s, m * KV_PAGE, j->softcap);
    kernel.soften(u->s, m, from, to, sums.max, sums.sum, u->shrink,
                  j->rounded ? u->s_rounded : NULL, next + mixing, softening);
    mix(sums.acc, hd, u->shrink, weights, KV_PAGE, values, hd, m, from, to, hd,
        next + mixing + softening, mixing);
}

static size_t seen_from(const struct attn_row *row, size_t page) {
    size_t begin = page * KV_PAGE;
    return row->first <= begin ? 0 : row->first - begin < KV_PAGE ? row->first - begin : KV_PAGE;
}
static size_t seen_to(const struct attn_row *row, size_t page) {
    size_t begin = page * KV_PAGE;
    return row->last < begin ? 0 : row->last - begin < KV_PAGE ? row->last - begin + 1 : KV_PAGE;
}

/* What n rows see of a page for one KV head, their queries from `first` on. A page that all rows
 * see whole is taken together; else each row takes what it sees, which gives the same bits. */
static void attend_page(const struct attn_job *j, const struct queries *u, struct attn_sums sums,
                        size_t first, const struct attn_row *rows, size_t n, size_t page,
                        const unsigned char *part, const unsigned char *next) {
    size_t whole = 0;
    for (size_t i = 0; i < n; i++)
        whole += seen_from(&rows[i], page) == 0 && seen_to(&rows[i], page) == KV_PAGE;
    if (whole == n) {
        attend_part(j, u, sums, first, n * j->group, part, next, 0, KV_PAGE);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t from = seen_from(&rows[i], page), to = seen_to(&rows[i], page);
        if (from < to)
            attend_part(j, u, sums, first + i * j->group, j->group, part, next, from, to);
    }
}

static size_t first_page(const struct attn_job *j, const struct attn_piece *p, size_t span) {
    size_t page = (span + 1) * SPAN;
    for (size_t i = 0; i < p->n; i++) {
        size_t first = j->rows[p->row + i].first / KV_PAGE;
        page = first < page ? first : page;
    }
    return page < span * SPAN ? span * SPAN : page;
}
static size_t page_end(const struct attn_job *j, const struct attn_piece *p, size_t span) {
    size_t end = 0;
    for (size_t i = 0; i < p->n; i++) {
        size_t last = j->rows[p->row + i].last / KV_PAGE;
        end = last + 1 > end ? last + 1 : end;
    }
    return end < (span + 1) * SPAN ? end : (span + 1) * SPAN;
}
static const unsigned char *first_part(const struct attn_job *j, const struct attn_piece *p,
                                       size_t span) {
    return page_keys(j->kv, j->rows[p->row].pages[first_page(j, p, span)], p->head);
}

void attend_span(const struct attn_job *j, const struct queries *u, struct attn_sums sums,
                 const struct attn_piece *p, size_t span, const struct attn_piece *behind) {
    const struct attn_row *rows = j->rows + p->row;
    const struct kv_layer *kv = j->kv;
    size_t m = p->n * j->group, page = first_page(j, p, span), end = page_end(j, p, span);
    size_t part_bytes = kv_page_bytes(1, kv->head_dim, kv->f32);
    sums_clear(sums, queries_in(j, p), kv->head_dim);
    for (const unsigned char *part = first_part(j, p, span), *next; page < end; page++) {
        const unsigned char *next_page;
        if (page + 1 < end)
            next_page = page_keys(kv, rows->pages[page + 1], p->head);
        else
            next_page = span + 1 < p->span_end ? first_part(j, p, span + 1)
                                               : first_part(j, behind, behind->span);
        for (size_t h = p->head; h < p->head_end; h++, part = next) {
            next = h + 1 < p->head_end ? part + part_bytes : next_page;
            attend_page(j, u, sums, (h - p->head) * m, rows, p->n, page, part, next);
        }
    }
}
