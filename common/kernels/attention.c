/* Attention over paged keys and values, with an online softmax (Milakov and Gimelshein 2018): how
 * the work is cut and shared.
 *
 * A query takes its positions page by page, in order: the scores of a page, their maximum, the
 * exponentials, then the values weighted by them. Where a page brings a new maximum, the sums so
 * far are rescaled. Nothing of size [n, n] is stored. ATTN_SPAN_PAGES pages make a sum, and
 * ATTN_GROUP_SPANS of these another; those are added up in order. Pages and spans are at absolute
 * positions, so a row's sums have the same order alone and in any batch, however the work is
 * shared:
 *
 * - In a prompt, the query heads that share a KV head, and the rows that see all of a page, go
 *   through it together, and multiply small matrices.
 * - A row that decodes goes through the parts of several KV heads in turn: one long stream of a
 *   page.
 * - Where that leaves threads without work, or rows are long or of different lengths, pieces are
 *   single spans.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/attention.h"

#include "base/mem.h"
#include "kernels/table.h"

static uint32_t first_span(const struct attn_row *row) {
    return row->first / (KV_PAGE * ATTN_SPAN_PAGES);
}
static uint32_t span_end(const struct attn_row *row) {
    return row->last / (KV_PAGE * ATTN_SPAN_PAGES) + 1;
}

/* Where the group of spans that this one is in ends, no later than `end`. */
static size_t group_end(size_t span, size_t end) {
    size_t next = (span / ATTN_GROUP_SPANS + 1) * ATTN_GROUP_SPANS;
    return next < end ? next : end;
}

static size_t span_floats(size_t n_heads, size_t v_dim) {
    return attn_padded(n_heads) + attn_sums_floats(n_heads, v_dim);
}
/* The sums of a span of a row, from a KV head on. */
struct span_sums {
    float *n_added; // [KV heads] spans in the sums: this one and those after it that run_span added
    struct attn_sums sums;
};
static struct span_sums span_sums_of(const struct attn_job *j, size_t row, size_t span,
                                     size_t head) {
    const struct attn_row *rows = j->call->rows;
    size_t at = span - first_span(&rows[row]), dim = j->call->kv->v_dim;
    size_t n_heads = j->call->n_heads;
    for (size_t r = 0; r < row; r++)
        at += span_end(&rows[r]) - first_span(&rows[r]);
    float *p = j->span_sums + at * span_floats(n_heads, dim);
    struct attn_sums sums = attn_sums_at(p + attn_padded(n_heads), n_heads);
    return (struct span_sums){p + head, attn_sums_from(sums, head * j->group, dim)};
}
static struct attn_queries queries_of(const struct attn_job *j, size_t thread) {
    size_t k_dim = j->call->kv->k_dim, v_dim = j->call->kv->v_dim;
    float *own = j->scratch + thread * attn_queries_floats(j->m, k_dim, v_dim);
    return attn_queries_at(own, j->m, k_dim, v_dim);
}
static bool same_queries(const struct attn_piece *a, const struct attn_piece *b) {
    return a->row == b->row && a->head == b->head;
}

/* ---- Pieces ---- */

/* A span of a row. A thread that had the spans before it, from the first of the group on, adds it
 * to them while they are in its cache. Where cores share no cache, join_spans would wait three
 * times as long for sums that are in another's. */
static void run_span(const struct attn_job *j, const struct attn_queries *u, size_t i,
                     const struct attn_piece *after) {
    const struct attn_piece *p = &j->pieces[i];
    struct span_sums own = span_sums_of(j, p->row, p->span, p->head);
    struct attn_run *run = u->run;
    size_t heads = p->head_end - p->head;
    attn_span(j, u, own.sums, p, p->span, after);
    for (size_t h = 0; h < heads; h++)
        own.n_added[h] = 1;
    if (p->span % ATTN_GROUP_SPANS == 0 || p->span == first_span(&j->call->rows[p->row])) {
        run->first = i;
    } else if (run->next == i && same_queries(p, &j->pieces[run->first])) {
        struct span_sums first = span_sums_of(j, p->row, j->pieces[run->first].span, p->head);
        kernel.attn.add_sums(&first.sums, &own.sums, attn_n_queries(j, p), j->call->kv->v_dim);
        for (size_t h = 0; h < heads; h++)
            first.n_added[h]++;
    } else {
        return;
    }
    run->next = i + 1;
}

/* All that a piece's rows see. */
static void run_whole(const struct attn_job *j, const struct attn_queries *u,
                      const struct attn_piece *p, const struct attn_piece *after) {
    size_t n = attn_n_queries(j, p), dim = j->call->kv->v_dim;
    for (size_t span = p->span, end; span < p->span_end; span = end) {
        struct attn_sums sums = span == p->span ? u->all : u->spans;
        end = group_end(span, p->span_end);
        attn_span(j, u, sums, p, span, after);
        for (size_t s = span + 1; s < end; s++) {
            attn_span(j, u, u->span, p, s, after);
            kernel.attn.add_sums(&sums, &u->span, n, dim);
        }
        if (span > p->span)
            kernel.attn.add_sums(&u->all, &u->spans, n, dim);
    }
    attn_store_out(j, u->all, p);
}

static void run_pieces(void *arg, size_t begin, size_t end, size_t thread) {
    const struct attn_job *j = arg;
    struct attn_queries u = queries_of(j, thread);
    for (size_t i = begin; i < end; i++) {
        // The piece after this one is most often this thread's, too.
        const struct attn_piece *p = &j->pieces[i], *after = i + 1 < j->n_pieces ? p + 1 : p;
        // Whether this thread had the piece before.
        bool goes_on = i > begin || (j->span_sums && u.run->next == i);
        if (!goes_on || !same_queries(p, p - 1))
            attn_load_queries(j, &u, p);
        if (j->span_sums)
            run_span(j, &u, i, after);
        else
            run_whole(j, &u, p, after);
    }
}

/* Adds up a row's sums of spans, for one KV head, in the order of run_whole. */
static void join_spans(void *arg, size_t begin, size_t end, size_t thread) {
    const struct attn_job *j = arg;
    size_t n_kv_heads = j->call->kv->n_kv_heads, dim = j->call->kv->v_dim;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        size_t r = i / n_kv_heads, h = i % n_kv_heads;
        size_t first = first_span(&j->call->rows[r]), last = span_end(&j->call->rows[r]);
        struct span_sums all = span_sums_of(j, r, first, h);
        for (size_t span = first, next; span < last; span = next) {
            struct span_sums spans = span_sums_of(j, r, span, h);
            next = group_end(span, last);
            for (size_t s = span + (size_t)*spans.n_added; s < next; s++) {
                const struct span_sums one = span_sums_of(j, r, s, h);
                kernel.attn.add_sums(&spans.sums, &one.sums, j->group, dim);
            }
            if (span > first)
                kernel.attn.add_sums(&all.sums, &spans.sums, j->group, dim);
        }
        attn_store_out(
            j, all.sums,
            &(struct attn_piece){
                .row = (uint32_t)r, .n = 1, .head = (uint32_t)h, .head_end = (uint32_t)h + 1});
    }
}

/* ---- Cutting ---- */

/* Rows of one sequence together, as many as ATTN_BLOCK_QUERIES allow, one KV head in a piece.
 * Returns the number of pieces. */
static size_t block_pieces(struct attn_piece *pieces, const struct attn_job *j) {
    const struct attn_row *rows = j->call->rows;
    size_t n = 0, most = j->group < ATTN_BLOCK_QUERIES ? ATTN_BLOCK_QUERIES / j->group : 1;
    for (uint32_t r = 0; r < j->call->n_rows;) {
        struct attn_piece p = {.row = r, .span = first_span(&rows[r])};
        for (; r < j->call->n_rows && rows[r].pages == rows[p.row].pages && p.n < most;
             r++, p.n++) {
            p.span = first_span(&rows[r]) < p.span ? first_span(&rows[r]) : p.span;
            p.span_end = span_end(&rows[r]) > p.span_end ? span_end(&rows[r]) : p.span_end;
        }
        for (p.head = 0; p.head < j->call->kv->n_kv_heads; p.head++) {
            p.head_end = p.head + 1;
            pieces[n++] = p;
        }
    }
    return n;
}

/* Single rows, `heads` KV heads in a piece, whole or as single spans. Returns the number of pieces.
 */
static size_t row_pieces(struct attn_piece *pieces, const struct attn_job *j, uint32_t heads,
                         bool by_span) {
    uint32_t n = 0, n_kv_heads = (uint32_t)j->call->kv->n_kv_heads;
    for (uint32_t r = 0; r < j->call->n_rows; r++) {
        uint32_t first = first_span(&j->call->rows[r]), end = span_end(&j->call->rows[r]),
                 each = by_span ? 1 : end - first;
        for (uint32_t h = 0; h < n_kv_heads; h += heads) {
            uint32_t head_end = h + heads < n_kv_heads ? h + heads : n_kv_heads;
            for (uint32_t s = first; s < end; s += each)
                pieces[n++] = (struct attn_piece){.row = r,
                                                  .n = 1,
                                                  .span = s,
                                                  .span_end = s + each,
                                                  .head = h,
                                                  .head_end = head_end};
        }
    }
    return n;
}

/* Cuts single rows, one of each sequence. spans: of all rows. span_sums: memory for sums of spans.
 */
static void cut_rows(struct attn_job *j, struct attn_piece *pieces, size_t threads, size_t spans,
                     float *span_sums) {
    size_t n_rows = j->call->n_rows, n_kv_heads = j->call->kv->n_kv_heads;
    // One row alone is cut where heads do not share out, or it is long. Threads that take heads of
    // the same pages read them slower.
    bool worth = n_rows > 1 || n_kv_heads % threads != 0 || spans >= threads * ATTN_PIECES;
    bool by_span = spans > n_rows && spans <= ATTN_MAX_SPANS && worth;
    size_t each = n_rows > 1 || by_span ? ATTN_PIECES : 1;
    size_t heads = (by_span ? spans : n_rows) * n_kv_heads / (threads * each);
    size_t most = ATTN_ROW_FLOATS / (j->group * j->call->kv->v_dim);
    heads = heads < most ? heads : most;
    j->span_sums = by_span ? span_sums : NULL;
    j->n_pieces = row_pieces(pieces, j, heads > 1 ? (uint32_t)heads : 1, by_span);
}

/* ---- The call ---- */

static size_t max_pieces(size_t n_rows) {
    return larger(n_rows, ATTN_MAX_SPANS);
}
static size_t pieces_bytes(size_t n_rows, size_t n_heads) {
    return attn_padded(max_pieces(n_rows) * n_heads * sizeof(struct attn_piece));
}
static size_t thread_queries(size_t n_heads) {
    return larger(n_heads, ATTN_BLOCK_QUERIES);
}

void attention(struct pool *p, const struct attn_call *a) {
    const struct kv_layer *kv = a->kv;
    size_t threads = pool_threads(p), n_heads = a->n_heads;
    struct attn_piece *pieces = a->scratch;
    float *sums = (float *)(void *)((unsigned char *)a->scratch + pieces_bytes(a->n_rows, n_heads));
    struct attn_job j = {.call = a,
                         .group = n_heads / kv->n_kv_heads,
                         .rounded = kv->type == KV_BF16 && kernel.attn.sum_bf16,
                         .pieces = pieces,
                         .scratch = sums + ATTN_MAX_SPANS * span_floats(n_heads, kv->v_dim),
                         .m = thread_queries(n_heads)};
    size_t spans = 0;
    bool single = true; // one row of each sequence
    for (size_t r = 0; r < a->n_rows; r++) {
        single = single && (r == 0 || a->rows[r].pages != a->rows[r - 1].pages);
        spans += span_end(&a->rows[r]) - first_span(&a->rows[r]);
    }
    if (single)
        cut_rows(&j, pieces, threads, spans, sums);
    else
        j.n_pieces = block_pieces(pieces, &j);
    for (size_t t = 0; t < threads && j.span_sums; t++)
        *queries_of(&j, t).run = (struct attn_run){.next = SIZE_MAX};
    pool_run_pieces(p, run_pieces, &j, j.n_pieces,
                    j.span_sums ? (j.n_pieces + threads - 1) / threads : 1, 1);
    if (j.span_sums)
        pool_run(p, join_spans, &j, a->n_rows * kv->n_kv_heads, 1);
}

/* A shape is refused if a bound of all its parts overflows: each part of a query takes less than
 * 64 floats a dimension of keys or values, or 64 for KV_PAGE and SUM_LANES. A thread's widened part
 * takes as many as two queries may. */
size_t attention_scratch(size_t n_threads, size_t n_rows, size_t n_heads, size_t k_dim,
                         size_t v_dim) {
    size_t dims, query, all, queries = 0, most = 0;
    if (!add_size(larger(k_dim, v_dim), KV_PAGE, &dims) || !mul_size(dims, 64, &query) ||
        !add_size(ATTN_MAX_SPANS, n_threads, &queries) ||
        !mul_size(queries, thread_queries(n_heads), &queries) || !mul_size(queries, query, &all) ||
        !mul_size(max_pieces(n_rows), n_heads, &most) ||
        !mul_size(most, 2 * sizeof(struct attn_piece), &most) || !add_size(all, most, &most))
        return SIZE_MAX;
    return pieces_bytes(n_rows, n_heads) +
           (ATTN_MAX_SPANS * span_floats(n_heads, v_dim) +
            n_threads * attn_queries_floats(thread_queries(n_heads), k_dim, v_dim)) *
               sizeof(float);
}
