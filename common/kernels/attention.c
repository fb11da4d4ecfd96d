/* Attention over paged keys and values, with an online softmax (Milakov and Gimelshein 2018).
 *
 * A query takes its positions page by page in order: the scores of one page, their maximum, the
 * exponentials, then the values weighed by them; when a page brings a new maximum, what was summed
 * so far is scaled down. Nothing of size [n, n] is held. SPAN pages make a sum, SPANS of these
 * another, and those are added up, all in order. Since pages and spans stand at absolute positions,
 * a row's sums have the same order alone and in any batch, and however the work is shared:
 *
 * - in a prompt the query heads that share a KV head, and the rows that see all of a page, go
 * through it together, and multiply small matrices;
 * - a row that decodes goes through the parts of several KV heads in turn, which is one long stream
 * of a page;
 * - where that leaves threads without work, or rows are long or of different lengths, they are cut
 * into spans.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/attention.h"

enum {
    BLOCK_QUERIES = 48, // of a prompt that go together: a multiple of the tiles' 6 rows
    ROW_SUMS = 2048,    // floats that a row's queries sum up together: they stay in L1
    MAX_CUTS = 256,     // spans: 262,144 positions of one row
    PIECES_EACH = 4     // pieces of spans a thread should find: they seldom end together
};

static uint32_t first_span(const struct attn_row *row) {
    return row->first / (KV_PAGE * SPAN);
}
static uint32_t span_end(const struct attn_row *row) {
    return row->last / (KV_PAGE * SPAN) + 1;
}

/* Where the SPANS spans end that one is of. */
static size_t spans_end(size_t span, size_t end) {
    size_t next = (span / SPANS + 1) * SPANS;
    return next < end ? next : end;
}

static size_t cut_floats(size_t n_heads, size_t head_dim) {
    return padded(n_heads) + sums_floats(n_heads, head_dim);
}
/* What there is of a span of a row, from a KV head on. */
struct cut {
    float *held; // [KV heads] of how many spans the sums are: of this one and of those behind it
                 // that run_cut added
    struct attn_sums sums;
};
static struct cut cut_of(const struct attn_job *j, size_t row, size_t span, size_t head) {
    size_t cut = span - first_span(&j->rows[row]), hd = j->kv->head_dim;
    for (size_t r = 0; r < row; r++)
        cut += span_end(&j->rows[r]) - first_span(&j->rows[r]);
    float *at = j->cut_sums + cut * cut_floats(j->n_heads, hd);
    return (struct cut){
        at + head, sums_from(sums_at(at + padded(j->n_heads), j->n_heads), head * j->group, hd)};
}
static struct queries queries_of(const struct attn_job *j, size_t thread) {
    size_t hd = j->kv->head_dim;
    return queries_at(j->scratch + thread * queries_floats(j->m, hd), j->m, hd);
}
static bool same_queries(const struct attn_piece *a, const struct attn_piece *b) {
    return a->row == b->row && a->head == b->head;
}

/* A span of a row. A thread that had those before it, from the first of SPANS on, adds it to them
 * while they are in its cache. Where cores have no cache together, join_cuts would wait three times
 * as long for what lies in the other's. */
static void run_cut(const struct attn_job *j, const struct queries *u, size_t i,
                    const struct attn_piece *behind) {
    const struct attn_piece *p = &j->pieces[i];
    struct cut own = cut_of(j, p->row, p->span, p->head);
    struct adding *adding = u->adding;
    size_t heads = p->head_end - p->head;
    attend_span(j, u, own.sums, p, p->span, behind);
    for (size_t h = 0; h < heads; h++)
        own.held[h] = 1;
    if (p->span % SPANS == 0 || p->span == first_span(&j->rows[p->row])) {
        adding->first = i;
    } else if (adding->next == i && same_queries(p, &j->pieces[adding->first])) {
        struct cut first = cut_of(j, p->row, j->pieces[adding->first].span, p->head);
        kernel.add_sums(&first.sums, &own.sums, queries_in(j, p), j->kv->head_dim);
        for (size_t h = 0; h < heads; h++)
            first.held[h]++;
    } else {
        return;
    }
    adding->next = i + 1;
}

/* All that a piece's rows see. */
static void run_whole(const struct attn_job *j, const struct queries *u, const struct attn_piece *p,
                      const struct attn_piece *behind) {
    size_t n = queries_in(j, p), hd = j->kv->head_dim;
    for (size_t span = p->span, end; span < p->span_end; span = end) {
        struct attn_sums sums = span == p->span ? u->all : u->spans;
        end = spans_end(span, p->span_end);
        attend_span(j, u, sums, p, span, behind);
        for (size_t s = span + 1; s < end; s++) {
            attend_span(j, u, u->span, p, s, behind);
            kernel.add_sums(&sums, &u->span, n, hd);
        }
        if (span > p->span)
            kernel.add_sums(&u->all, &u->spans, n, hd);
    }
    store_out(j, u->all, p);
}

static void run_pieces(void *arg, size_t begin, size_t end, size_t thread) {
    const struct attn_job *j = arg;
    struct queries u = queries_of(j, thread);
    for (size_t i = begin; i < end; i++) {
        const struct attn_piece *p = &j->pieces[i],
                                *behind = i + 1 < j->n_pieces ? p + 1
                                                              : p; // most often this thread's, too
        bool goes_on =
            i > begin || (j->cut_sums && u.adding->next == i); // this thread had the piece before
        if (!goes_on || !same_queries(p, p - 1))
            load_queries(j, &u, p);
        if (j->cut_sums)
            run_cut(j, &u, i, behind);
        else
            run_whole(j, &u, p, behind);
    }
}

/* Adds up what a row has in its spans, for one KV head, in the order of run_whole. */
static void join_cuts(void *arg, size_t begin, size_t end, size_t thread) {
    const struct attn_job *j = arg;
    size_t n_kv_heads = j->kv->n_kv_heads, hd = j->kv->head_dim;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        size_t r = i / n_kv_heads, h = i % n_kv_heads, first = first_span(&j->rows[r]),
               last = span_end(&j->rows[r]);
        struct cut all = cut_of(j, r, first, h);
        for (size_t span = first, next; span < last; span = next) {
            struct cut spans = cut_of(j, r, span, h);
            next = spans_end(span, last);
            for (size_t s = span + (size_t)*spans.held; s < next; s++) {
                const struct cut one = cut_of(j, r, s, h);
                kernel.add_sums(&spans.sums, &one.sums, j->group, hd);
            }
            if (span > first)
                kernel.add_sums(&all.sums, &spans.sums, j->group, hd);
        }
        store_out(
            j, all.sums,
            &(struct attn_piece){
                .row = (uint32_t)r, .n = 1, .head = (uint32_t)h, .head_end = (uint32_t)h + 1});
    }
}

/* Rows of one sequence together, as many as BLOCK_QUERIES allow, one KV head in a piece. Returns
 * their number. */
static size_t block_pieces(struct attn_piece *pieces, const struct attn_job *j, size_t n_rows) {
    const struct attn_row *rows = j->rows;
    size_t n = 0, most = j->group < BLOCK_QUERIES ? BLOCK_QUERIES / j->group : 1;
    for (uint32_t r = 0; r < n_rows;) {
        struct attn_piece p = {.row = r, .span = first_span(&rows[r])};
        for (; r < n_rows && rows[r].pages == rows[p.row].pages && p.n < most; r++, p.n++) {
            p.span = first_span(&rows[r]) < p.span ? first_span(&rows[r]) : p.span;
            p.span_end = span_end(&rows[r]) > p.span_end ? span_end(&rows[r]) : p.span_end;
        }
        for (p.head = 0; p.head < j->kv->n_kv_heads; p.head++) {
            p.head_end = p.head + 1;
            pieces[n++] = p;
        }
    }
    return n;
}

/* Single rows, `heads` KV heads in a piece, cut into spans or not. Returns their number. */
static size_t row_pieces(struct attn_piece *pieces, const struct attn_job *j, size_t n_rows,
                         uint32_t heads, bool cut) {
    uint32_t n = 0, n_kv_heads = (uint32_t)j->kv->n_kv_heads;
    for (uint32_t r = 0; r < n_rows; r++) {
        uint32_t first = first_span(&j->rows[r]), end = span_end(&j->rows[r]),
                 each = cut ? 1 : end - first;
        for (uint32_t h = 0; h < n_kv_heads; h += heads)
            for (uint32_t s = first; s < end; s += each)
                pieces[n++] = (struct attn_piece){.row = r,
                                                  .n = 1,
                                                  .span = s,
                                                  .span_end = s + each,
                                                  .head = h,
                                                  .head_end = h + heads < n_kv_heads ? h + heads
                                                                                     : n_kv_heads};
    }
    return n;
}

static size_t pieces_bytes(size_t n_rows, size_t n_heads) {
    return padded((n_rows > MAX_CUTS ? n_rows : MAX_CUTS) * n_heads * sizeof(struct attn_piece));
}
static size_t thread_queries(size_t n_heads) {
    return n_heads > BLOCK_QUERIES ? n_heads : BLOCK_QUERIES;
}

void attention(struct pool *p, const struct kv_layer *kv, const struct attn_row *rows,
               size_t n_rows, float *out, size_t ldo, const float *q, size_t ldq, size_t n_heads,
               float scale, float softcap, void *scratch) {
    size_t threads = pool_threads(p), n_kv_heads = kv->n_kv_heads, group = n_heads / n_kv_heads;
    struct attn_piece *pieces = scratch;
    float *sums = (float *)(void *)((unsigned char *)scratch + pieces_bytes(n_rows, n_heads));
    struct attn_job j = {.kv = kv,
                         .rows = rows,
                         .out = out,
                         .ldo = ldo,
                         .q = q,
                         .ldq = ldq,
                         .n_heads = n_heads,
                         .group = group,
                         .scale = scale,
                         .softcap = softcap,
                         .rounded = !kv->f32 && kernel.mix_rounded,
                         .pieces = pieces,
                         .scratch = sums + MAX_CUTS * cut_floats(n_heads, kv->head_dim),
                         .m = thread_queries(n_heads)};
    size_t spans = 0;
    bool single = true; // a row of each sequence
    for (size_t r = 0; r < n_rows; r++) {
        single = single && (r == 0 || rows[r].pages != rows[r - 1].pages);
        spans += span_end(&rows[r]) - first_span(&rows[r]);
    }
    if (single) {
        // One row alone: where heads don't share out, or it is long. Threads that take heads of the
        // same pages read them slower.
        bool worth = n_rows > 1 || n_kv_heads % threads != 0 || spans >= threads * PIECES_EACH;
        bool cut = spans > n_rows && spans <= MAX_CUTS && worth;
        size_t each = n_rows > 1 || cut ? PIECES_EACH : 1, most = ROW_SUMS / (group * kv->head_dim);
        size_t heads = (cut ? spans : n_rows) * n_kv_heads / (threads * each);
        heads = heads < most ? heads : most;
        j.cut_sums = cut ? sums : NULL;
        j.n_pieces = row_pieces(pieces, &j, n_rows, heads > 1 ? (uint32_t)heads : 1, cut);
    } else {
        j.n_pieces = block_pieces(pieces, &j, n_rows);
    }
    for (size_t t = 0; t < threads && j.cut_sums; t++)
        *queries_of(&j, t).adding = (struct adding){.next = SIZE_MAX};
    pool_run_pieces(p, run_pieces, &j, j.n_pieces,
                    j.cut_sums ? (j.n_pieces + threads - 1) / threads : 1, 1);
    if (j.cut_sums)
        pool_run(p, join_cuts, &j, n_rows * n_kv_heads, 1);
}

size_t attention_scratch(size_t n_threads, size_t n_rows, size_t n_heads, size_t head_dim) {
    return pieces_bytes(n_rows, n_heads) +
           (MAX_CUTS * cut_floats(n_heads, head_dim) +
            n_threads * queries_floats(thread_queries(n_heads), head_dim)) *
               sizeof(float);
}
