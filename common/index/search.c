/* Exact search by vectors: see search.h.
 *
 * The scan multiplies blocks of the bf16 or i8 vectors by all queries together, and a heap for each
 * query holds the best c records by these inexact scores. Their exact scores are computed next.
 *
 * The inexact score of a record differs from its exact one by at most
 *
 *     margin = |q| max_error + (|q| dim 2^-22 + |q - q'|) (max_norm + max_error)
 *
 * where max_error bounds |exact - scan|. The second term bounds the rounding of f32 sums, and the
 * third one that of q: the kernels of i8 round it to 15 bits (kernels/matmul_int.h). So if
 * the worst inexact score in the heap plus the margin is below the k-th exact score, no record
 * outside the heap belongs to the best k. Otherwise the query is searched again with 4 c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "index/search.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/kernels.h"
#include "weights/mat.h"
#include "weights/panel_i8.h"

enum {
    SCAN_SCORES = 1 << 19,     // scores of a block of vectors, with all queries: 2 MB
    SKIP = 32,                 // scores that are looked at together, as a rule none is good enough
    MOST_CANDIDATES = 1 << 23, // of the heaps of queries that are searched together: 64 MB
    LANES = 8,                 // sums of a dot product
};

struct candidate {
    float score; // inexact
    uint32_t record;
};

/* A query that is searched for. */
struct seeker {
    size_t number; // of the query
    const float *q;
    double margin;
    struct candidate *heap; // [cap], the worst first
    size_t n, cap;
};

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* ---- A heap of the best candidates ---- */

/* Whether a is worse: of equal scores the later record is. */
static bool worse(const struct candidate *a, const struct candidate *b) {
    if (a->score < b->score || a->score > b->score)
        return a->score < b->score;
    return a->record > b->record;
}

static void sift_down(struct candidate *h, size_t n, size_t i) {
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(&h[child + 1], &h[child]))
            child++;
        if (!worse(&h[child], &h[i]))
            return;
        struct candidate t = h[i];
        h[i] = h[child];
        h[child] = t;
    }
}

static void offer(struct seeker *s, struct candidate c) {
    if (s->n < s->cap) {
        size_t i = s->n++;
        for (; i > 0 && worse(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
            s->heap[i] = s->heap[(i - 1) / 2];
        s->heap[i] = c;
    } else if (worse(&s->heap[0], &c)) {
        s->heap[0] = c;
        sift_down(s->heap, s->n, 0);
    }
}

/* ---- Scan ---- */

struct selection {
    struct seeker *seekers;
    const float *scores; // [n_seekers, n]
    size_t n, first;     // vectors of the block, and the first of them
};

/* Of SKIP scores. */
static bool all_below(const float *scores, float least) {
    unsigned others = 0;
    for (size_t i = 0; i < SKIP; i++)
        others += scores[i] < least ? 0 : 1;
    return others == 0;
}

static void select_best(void *arg, size_t begin, size_t end, size_t thread) {
    const struct selection *sel = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        struct seeker *s = &sel->seekers[i];
        const float *scores = sel->scores + i * sel->n;
        for (size_t r = 0; r < sel->n; r++) {
            if (s->n == s->cap && r + SKIP <= sel->n && all_below(scores + r, s->heap[0].score)) {
                r += SKIP - 1;
                continue;
            }
            // A score that is no number would be refused when its exact value is computed.
            if (s->n < s->cap || !(scores[r] < s->heap[0].score))
                offer(s, (struct candidate){isfinite(scores[r]) ? scores[r] : INFINITY,
                                            (uint32_t)(sel->first + r)});
        }
    }
}

/* Fills the heaps. queries [n_seekers, dim] are those of the seekers. */
static void scan(const struct index_file *ix, struct pool *pool, struct seeker *seekers,
                 size_t n_seekers, const float *queries) {
    const size_t dim = ix->info.dim, n = ix->info.n;
    const bool i8 = ix->info.store == INDEX_I8;
    const struct mat all =
        i8 ? mat_panels(ix->scan, MAT_I8, n, dim) : mat_plain(ix->scan, DT_BF16, n, dim);
    const size_t block_rows = larger(SCAN_SCORES / n_seekers / PANEL_ROWS, 1) * PANEL_ROWS;
    float *scores = xaligned(64, n_seekers * smaller(block_rows, n) * sizeof *scores);
    void *scratch = xaligned(64, matmul_scratch(n_seekers, dim));
    for (size_t first = 0; first < n; first += block_rows) {
        const size_t rows = smaller(n - first, block_rows);
        const struct mat block = mat_rows(&all, first, rows);
        const struct matmul_product product = {.y = scores, .ldy = rows, .w = &block};
        const struct matmul_input in = {
            .x = queries, .ldx = dim, .n_rows = n_seekers, .precise = !i8, .scratch = scratch};
        matmul(pool, &product, 1, &in);
        struct selection sel = {seekers, scores, rows, first};
        pool_run(pool, select_best, &sel, n_seekers, 1);
    }
    free(scores);
    free(scratch);
}

/* ---- Exact scores ---- */

/* Lane i sums elements i, i + LANES, ... The order does not depend on the machine. */
static double dot(const float *a, const float *b, size_t n) {
    double sums[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            sums[k] += (double)a[i + k] * (double)b[i + k];
    for (; i < n; i++)
        sums[i % LANES] += (double)a[i] * (double)b[i];
    for (size_t k = 0; k < LANES; k++)
        sum += sums[k];
    return sum;
}

/* The exact scores of a heap's records, in order. */
static int rescore(const struct index_file *ix, const struct seeker *s, size_t k,
                   struct index_hits *hits, struct err *e) {
    float *row = xmalloc(ix->info.dim * sizeof *row);
    int rc = 0;
    *hits = (struct index_hits){xcalloc(s->n, sizeof *hits->p), s->n};
    for (size_t i = 0; i < s->n && rc == 0; i++) {
        index_vector(ix, s->heap[i].record, row);
        hits->p[i] = (struct index_hit){s->heap[i].record, dot(s->q, row, ix->info.dim)};
        if (!isfinite(hits->p[i].score))
            rc = err_set(e, EXIT_DATA, "the vector of record %u is not finite: %s",
                         (unsigned)s->heap[i].record, ix->path);
    }
    free(row);
    return rc == 0 ? search_order(ix, hits, k, e) : -1;
}

/* Whether no record outside the heap can belong to the best. */
static bool is_proven(const struct index_file *ix, const struct seeker *s,
                      const struct index_hits *hits) {
    return s->n == ix->info.n || (double)s->heap[0].score + s->margin < hits->p[hits->n - 1].score;
}

/* At most |q - q'|, where q' has 15 bits of each block's largest value: half a step of 1 / 16256 in
 * each value, and what is below 2^-100 is 0. */
static double rounding_of(const float *q, size_t dim) {
    double most = 0;
    for (size_t i = 0; i < dim; i++)
        most = fmax(most, fabs((double)q[i]));
    return sqrt((double)dim) * (most / 32000 + ldexp(1, -100));
}

static double margin_of(const struct index_file *ix, const float *q) {
    const double dim = (double)ix->info.dim, error = (double)ix->info.max_error,
                 length = sqrt(dot(q, q, ix->info.dim)),
                 rounding = ix->info.store == INDEX_I8 ? rounding_of(q, ix->info.dim) : 0;
    return length * error +
           (length * dim * ldexp(1, -22) + rounding) * ((double)ix->info.max_norm + error);
}

/* One scan for all seekers. Those that are proven get their hits; *n_left are moved to the front.
 */
static int seek(const struct index_file *ix, struct pool *pool, struct seeker *seekers, size_t *n,
                size_t k, struct index_hits *hits, struct err *e) {
    const size_t dim = ix->info.dim;
    float *queries = xaligned(64, *n * dim * sizeof *queries);
    for (size_t i = 0; i < *n; i++) {
        seekers[i].heap = xcalloc(seekers[i].cap, sizeof *seekers[i].heap);
        seekers[i].n = 0;
        memcpy(queries + i * dim, seekers[i].q, dim * sizeof *queries);
    }
    scan(ix, pool, seekers, *n, queries);
    free(queries);
    int rc = 0;
    size_t left = 0;
    for (size_t i = 0; i < *n; i++) {
        struct seeker s = seekers[i];
        struct index_hits found = {0};
        if (rc == 0)
            rc = rescore(ix, &s, k, &found, e);
        bool proven = rc == 0 && is_proven(ix, &s, &found);
        free(s.heap);
        if (proven) {
            hits[s.number] = found;
            continue;
        }
        free(found.p);
        s.cap = smaller(4 * s.cap, ix->info.n);
        seekers[left++] = s;
    }
    *n = left;
    return rc;
}

/* How many of the seekers, from the first, may search together: one at least. Where many vectors
 * are alike, or the file says that its scan is inexact, each may look at all records. */
static size_t together(const struct seeker *seekers, size_t n) {
    size_t i = 1, sum = seekers[0].cap;
    while (i < n && seekers[i].cap <= MOST_CANDIDATES && sum + seekers[i].cap <= MOST_CANDIDATES)
        sum += seekers[i++].cap;
    return i;
}

int search_vectors(const struct index_file *ix, struct pool *pool, const float *queries,
                   size_t n_queries, size_t k, struct index_hits *hits, struct err *e) {
    struct seeker *seekers = xcalloc(n_queries, sizeof *seekers);
    size_t left = n_queries;
    int rc = 0;
    k = smaller(k, ix->info.n);
    for (size_t i = 0; i < n_queries; i++) {
        const float *q = queries + i * ix->info.dim;
        hits[i] = (struct index_hits){0};
        seekers[i] = (struct seeker){.number = i,
                                     .q = q,
                                     .margin = margin_of(ix, q),
                                     .cap = smaller(larger(4 * k, k + 32), ix->info.n)};
    }
    while (k && left && rc == 0) {
        size_t n = together(seekers, left), again = n;
        rc = seek(ix, pool, seekers, &again, k, hits, e);
        memmove(seekers + again, seekers + n, (left - n) * sizeof *seekers);
        left -= n - again;
    }
    for (size_t i = 0; rc != 0 && i < n_queries; i++) {
        free(hits[i].p);
        hits[i] = (struct index_hits){0};
    }
    free(seekers);
    return rc;
}

void search_normalise(float *v, size_t n) {
    const double sum = dot(v, v, n), scale = sum > 0 ? 1 / sqrt(sum) : 1;
    for (size_t i = 0; i < n; i++)
        v[i] = (float)((double)v[i] * scale);
}
