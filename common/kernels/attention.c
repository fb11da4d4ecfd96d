/* Attention over paged keys and values, with an online softmax (Milakov and Gimelshein 2018).
 *
 * A query takes its positions page by page in order: the scores of one page, their maximum, the exponentials, then
 * the values weighed by them; when a page brings a new maximum, what was summed so far is scaled down. Nothing of
 * size [n, n] is held, and since pages stand at absolute positions, a row's sums have the same order alone and in any
 * batch. The query heads that share a KV head, and the rows of a prompt that see all of a page, go through it together:
 * decoding reads each key and value once, and a prompt multiplies small matrices.
 *
 * Keys lie transposed (kernels.h): then scores, too, are rows of a matrix weighed and added, without sums across
 * the lanes of a vector.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "kernels/table.h"
#include "kernels/vec.h"

enum { BLOCK_QUERIES = 48 }; // rows * query heads of a KV head that go together: a multiple of the tiles' 6 rows

struct attn_job {
    const struct kv_layer *kv;
    const struct attn_row *rows;
    size_t n_rows;
    float *out; // [n_rows, n_heads * head_dim], stride ldo
    size_t ldo;
    const float *q; // [n_rows, n_heads * head_dim], stride ldq
    size_t ldq;
    size_t group;      // query heads of one KV head
    size_t block_rows; // rows that go together
    float scale, softcap;
    bool rounded; // queries and probabilities, to bf16
    unsigned char *scratch;
    size_t scratch_each; // bytes a thread
};

/* A thread's state: m queries, of a run of rows, for one KV head. */
struct queries {
    float *q;   // [m, head_dim], scaled
    float *acc; // [m, head_dim]: values weighed by e^(score - max)
    float *s;   // [m, KV_PAGE]: scores, then e^(score - max)
    float *max, *shrink;             // [m]
    float *sum;                      // [m, SUM_LANES]: of e^(score - max), by lanes
    uint16_t *q_rounded, *s_rounded; // q [m, head_dim + 1 where odd] and s as bf16
};

static size_t round_even(size_t n) {
    return n + n % 2;
}

static unsigned char *page_keys(const struct kv_layer *kv, uint32_t page, size_t head) {
    return kv->base + page * kv->page_stride + head * kv_key_bytes(kv->head_dim, kv->f32);
}
static unsigned char *page_values(const struct kv_layer *kv, uint32_t page, size_t head) {
    return page_keys(kv, page, kv->n_kv_heads) + head * KV_PAGE * kv->head_dim * (kv->f32 ? 4 : 2);
}

/* Element [row, col] of a matrix of ld columns: f32, or bf16 with two rows side by side. */
static void put(const struct kv_layer *kv, unsigned char *to, size_t row, size_t col, size_t ld, float f) {
    if (kv->f32)
        ((float *)(void *)to)[row * ld + col] = f;
    else
        ((uint16_t *)(void *)to)[(row / 2 * ld + col) * 2 + row % 2] = vec_bf16_from_f32(f);
}

void kv_store(const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, const float *k, size_t ldk,
              const float *v, size_t ldv) {
    size_t hd = kv->head_dim;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t h = 0; h < kv->n_kv_heads; h++) {
            uint32_t page = rows[r].pages[rows[r].last / KV_PAGE];
            size_t at = rows[r].last % KV_PAGE;
            unsigned char *keys = page_keys(kv, page, h), *values = page_values(kv, page, h);
            for (size_t i = 0; i < hd; i++)
                put(kv, keys, i, at, KV_PAGE, k[r * ldk + h * hd + i]);
            for (size_t i = 0; i < hd; i++)
                put(kv, values, at, i, hd, v[r * ldv + h * hd + i]);
        }
}

/* The queries [first, first + m) of u, which all see [from, to) of this page; `next` is the page behind it, which is
 * fetched meanwhile, or this one. */
static void attend_page(const struct attn_job *j, const struct queries *u, size_t first, size_t m, uint32_t page,
                        uint32_t next, size_t kv_head, size_t from, size_t to) {
    const struct kv_layer *kv = j->kv;
    size_t hd = kv->head_dim, even = round_even(hd);
    float *s = u->s + first * KV_PAGE, *acc = u->acc + first * hd;
    const void *keys = page_keys(kv, page, kv_head), *values = page_values(kv, page, kv_head);
    const void *next_keys = page_keys(kv, next, kv_head), *next_values = page_values(kv, next, kv_head);
    mix_fn *mix = kv->f32 ? kernel.mix_f32 : kernel.mix_pairs;
    if (j->rounded)
        kernel.mix_rounded(s, KV_PAGE, NULL, u->q_rounded + first * even, even, keys, KV_PAGE, m, 0, hd, KV_PAGE, next_keys);
    else
        mix(s, KV_PAGE, NULL, u->q + first * hd, hd, keys, KV_PAGE, m, 0, hd, KV_PAGE, next_keys);
    uint16_t *rounded = u->s_rounded + first * KV_PAGE;
    kernel.soften(s, m, from, to, j->softcap, u->max + first, u->sum + first * SUM_LANES, u->shrink + first,
                  j->rounded ? rounded : NULL);
    if (j->rounded) {
        kernel.mix_rounded(acc, hd, u->shrink + first, rounded, KV_PAGE, values, hd, m, from, to, hd, next_values);
    } else {
        mix(acc, hd, u->shrink + first, s, KV_PAGE, values, hd, m, from, to, hd, next_values);
    }
}

static size_t seen_from(const struct attn_row *row, size_t page) {
    size_t begin = page * KV_PAGE;
    return row->first <= begin ? 0 : row->first - begin < KV_PAGE ? row->first - begin : KV_PAGE;
}
static size_t seen_to(const struct attn_row *row, size_t page) {
    size_t begin = page * KV_PAGE;
    return row->last < begin ? 0 : row->last - begin < KV_PAGE ? row->last - begin + 1 : KV_PAGE;
}

/* Rows [r, r + n) of one sequence (they name the same pages), one KV head. A page that all rows see whole is taken
 * together; else each row takes what it sees, which gives the same bits. */
static void attend_run(const struct attn_job *j, const struct queries *u, size_t r, size_t n, size_t kv_head) {
    size_t hd = j->kv->head_dim, g = j->group, first_page = j->rows[r].first / KV_PAGE, last_page = 0;
    for (size_t i = 0; i < n; i++) {
        const struct attn_row *row = &j->rows[r + i];
        const float *q = j->q + (r + i) * j->ldq + kv_head * g * hd;
        for (size_t d = 0; d < g * hd; d++)
            u->q[i * g * hd + d] = q[d] * j->scale;
        first_page = row->first / KV_PAGE < first_page ? row->first / KV_PAGE : first_page;
        last_page = row->last / KV_PAGE > last_page ? row->last / KV_PAGE : last_page;
    }
    for (size_t i = 0; i < n * g; i++) {
        if (j->rounded)
            kernel.round_bf16(u->q_rounded + i * round_even(hd), u->q + i * hd, hd);
        u->max[i] = -INFINITY;
    }
    memset(u->sum, 0, n * g * SUM_LANES * sizeof *u->sum);
    memset(u->acc, 0, n * g * hd * sizeof *u->acc);
    for (size_t page = first_page; page <= last_page; page++) {
        const uint32_t *pages = j->rows[r].pages;
        uint32_t next = pages[page < last_page ? page + 1 : page];
        size_t whole = 0;
        for (size_t i = 0; i < n; i++)
            whole += seen_from(&j->rows[r + i], page) == 0 && seen_to(&j->rows[r + i], page) == KV_PAGE;
        if (whole == n) {
            attend_page(j, u, 0, n * g, pages[page], next, kv_head, 0, KV_PAGE);
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            size_t from = seen_from(&j->rows[r + i], page), to = seen_to(&j->rows[r + i], page);
            if (from < to)
                attend_page(j, u, i * g, g, pages[page], next, kv_head, from, to);
        }
    }
    for (size_t i = 0; i < n * g; i++) {
        float *out = j->out + (r + i / g) * j->ldo + (kv_head * g + i % g) * hd;
        float sum = vec_sum_lanes(u->sum + i * SUM_LANES);
        for (size_t d = 0; d < hd; d++)
            out[d] = u->acc[i * hd + d] / sum;
    }
}

static size_t padded(size_t n) { // floats, to whole cache lines
    return (n + 15) / 16 * 16;
}
static size_t block_queries(size_t group) {
    return group > BLOCK_QUERIES ? group : BLOCK_QUERIES / group * group;
}
static size_t scratch_floats(size_t m, size_t head_dim) {
    return 2 * padded(m * head_dim) + m * (KV_PAGE + SUM_LANES) + 2 * padded(m) + padded(m * round_even(head_dim) / 2) +
           m * KV_PAGE / 2;
}

static void run_items(void *arg, size_t begin, size_t end, size_t thread) {
    const struct attn_job *j = arg;
    size_t m = block_queries(j->group), hd = j->kv->head_dim;
    struct queries u;
    u.q = (float *)(void *)(j->scratch + thread * j->scratch_each);
    u.acc = u.q + padded(m * hd);
    u.s = u.acc + padded(m * hd);
    u.max = u.s + m * KV_PAGE;
    u.shrink = u.max + padded(m);
    u.sum = u.shrink + padded(m);
    u.s_rounded = (uint16_t *)(void *)(u.sum + m * SUM_LANES);
    u.q_rounded = u.s_rounded + m * KV_PAGE;
    for (size_t i = begin; i < end; i++) {
        size_t r = i / j->kv->n_kv_heads * j->block_rows, n = 0;
        size_t stop = j->n_rows - r < j->block_rows ? j->n_rows : r + j->block_rows;
        for (; r < stop; r += n) {
            for (n = 1; r + n < stop && j->rows[r + n].pages == j->rows[r].pages;)
                n++;
            attend_run(j, &u, r, n, i % j->kv->n_kv_heads);
        }
    }
}

void attention(struct pool *p, const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, float *out,
               size_t ldo, const float *q, size_t ldq, size_t n_heads, float scale, float softcap, void *scratch) {
    size_t group = n_heads / kv->n_kv_heads, m = block_queries(group), block_rows = m / group;
    struct attn_job j = {.kv = kv, .rows = rows, .n_rows = n_rows, .out = out, .ldo = ldo, .q = q, .ldq = ldq,
                         .group = group, .block_rows = block_rows, .scale = scale, .softcap = softcap,
                         .rounded = !kv->f32 && kernel.mix_rounded,
                         .scratch = scratch, .scratch_each = scratch_floats(m, kv->head_dim) * sizeof(float)};
    pool_run(p, run_items, &j, (n_rows + block_rows - 1) / block_rows * kv->n_kv_heads, 1);
}

size_t attention_scratch(size_t n_threads, size_t n_rows, size_t n_heads, size_t head_dim) {
    (void)n_rows;
    return n_threads * scratch_floats(n_heads > BLOCK_QUERIES ? n_heads : BLOCK_QUERIES, head_dim) * sizeof(float);
}
