/* Sequences of ids to vectors, in batches: see embed_batch.h.
 *
 *     sequence -> record -> pieces -> batch -> hidden states -> pooled -> vector -> done()
 *
 * A record has one piece, or a piece a window. Pieces run in the order of the records, so records
 * are complete in order as well.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/embed_batch.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WAITING = 16 << 20 }; // bytes of sequences that wait for a batch, which then runs

/* A sequence that has no vector yet. */
struct record {
    struct embed_record shown;
    struct buf attrs, reason;
    size_t n_left; // pieces that have not run
    float *pooled; // [pooled_dim], or NULL
    double *mean;  // [pooled_dim] of windows; NULL: one piece
    double weight; // ids of the windows in it
};

/* Ids that run together. */
struct piece {
    struct record *record;
    size_t at, n, weight; // ids [at, at + n) of the batch; those that count for a mean of windows
};

struct embed_batch {
    const struct embed_job *job;
    embed_done_fn *done;
    void *ctx;
    size_t dim, pooled_dim;  // of a hidden state; of pooled
    struct record **records; // [n_records] without an answer, in order
    size_t n_records, records_cap;
    size_t waiting;       // bytes of records since there was none
    struct piece *pieces; // [n_pieces] of the batch
    size_t n_pieces;
    uint32_t *ids; // [n_ids] of the batch
    size_t n_ids, ids_cap;
    struct row *rows; // [rows_cap] of one step
    size_t rows_cap;
    float *hidden;          // [rows_cap, dim]
    struct embed_pool pool; // of one piece
    float *vector, *pooled; // [steps_dim], [pooled_dim]
};

size_t embed_rows(const struct spec *s, size_t max_ids) {
    return s->bidirectional && max_ids > EMBED_ROWS ? max_ids : EMBED_ROWS;
}

/* ---- Vectors ---- */

/* b->vector = the vector of what was pooled. False if it is not finite. */
static bool make_vector(struct embed_batch *b, const float *pooled) {
    const struct embed_job *job = b->job;
    embed_steps_run(job->steps, pooled, job->normalize, b->vector);
    if (job->unit)
        embed_normalize(b->vector, job->header.dim);
    for (size_t i = 0; i < job->header.dim; i++)
        if (!isfinite(b->vector[i]))
            return false;
    return true;
}

static void free_record(struct record *r) {
    buf_free(&r->attrs);
    buf_free(&r->reason);
    free(r->pooled);
    free(r->mean);
    free(r);
}

static void fail(struct record *r, struct str reason) {
    buf_add(&r->reason, reason.p, reason.n);
    r->shown.failed = true;
}

/* Gives the records whose pieces have all run to done(). */
static int give_done(struct embed_batch *b, struct err *e) {
    size_t n = 0;
    int rc = 0;
    for (; n < b->n_records && b->records[n]->n_left == 0 && rc == 0; n++) {
        struct record *r = b->records[n];
        for (size_t i = 0; r->mean && i < b->pooled_dim; i++)
            r->pooled[i] = (float)(r->mean[i] / r->weight);
        if (!r->shown.failed && !make_vector(b, r->pooled))
            fail(r, str_of("the vector has values that are not finite"));
        r->shown.attrs = buf_view(&r->attrs);
        r->shown.reason = buf_view(&r->reason);
        rc = b->done(b->ctx, &r->shown, r->shown.failed ? NULL : b->vector, e);
        free_record(r);
    }
    b->n_records -= n;
    if (b->n_records == 0)
        b->waiting = 0;
    else
        memmove(b->records, b->records + n, b->n_records * sizeof *b->records);
    return rc;
}

/* ---- A batch ---- */

/* What a piece pooled goes to its record. */
static void end_piece(struct embed_batch *b, const struct piece *p) {
    struct record *r = p->record;
    float *to = r->mean ? b->pooled : r->pooled;
    embed_pool_end(&b->pool, p->n, to);
    for (size_t i = 0; r->mean && i < b->pooled_dim; i++)
        r->mean[i] += (double)p->weight * (double)to[i];
    r->weight += (double)p->weight;
    r->n_left--;
}

/* One step of rows; the hidden states of those that are wanted go to the pool of their piece. A
 * piece that begins in it is cleared first, one that ends in it is complete. */
static int run_rows(struct embed_batch *b, size_t n_rows, const size_t *piece_of, struct err *e) {
    if (model_forward(b->job->model, b->rows, n_rows, NULL, b->hidden, e) != 0)
        return -1;
    const float *hidden = b->hidden;
    for (size_t i = 0; i < n_rows; i++) {
        const struct piece *p = &b->pieces[piece_of[i]];
        if (b->rows[i].pos == 0)
            embed_pool_clear(&b->pool);
        if (b->rows[i].want) {
            embed_pool_take(&b->pool, hidden, b->rows[i].pos);
            hidden += b->dim;
        }
        if (b->rows[i].pos + (size_t)1 == p->n)
            end_piece(b, p);
    }
    return 0;
}

/* Runs the pieces of the batch: all in one step, or a single long one in several. */
static int run_batch(struct embed_batch *b, struct err *e) {
    const struct embed_job *job = b->job;
    size_t *piece_of = xcalloc(b->rows_cap, sizeof *piece_of), n_rows = 0;
    int rc = 0;
    for (size_t k = 0; k < b->n_pieces; k++)
        model_seq_expect(job->model, k, b->pieces[k].n);
    for (size_t k = 0; k < b->n_pieces && rc == 0; k++)
        for (size_t i = 0; i < b->pieces[k].n && rc == 0; i++) {
            if (n_rows == b->rows_cap) {
                rc = run_rows(b, n_rows, piece_of, e);
                n_rows = 0;
            }
            piece_of[n_rows] = k;
            b->rows[n_rows++] =
                (struct row){.slot = (uint32_t)k,
                             .pos = (uint32_t)i,
                             .id = b->ids[b->pieces[k].at + i],
                             .want = embed_pool_wants(job->pools, i, b->pieces[k].n)};
        }
    if (rc == 0 && n_rows > 0)
        rc = run_rows(b, n_rows, piece_of, e);
    for (size_t k = 0; k < b->n_pieces; k++)
        model_seq_clear(job->model, k);
    b->n_pieces = b->n_ids = 0;
    free(piece_of);
    return rc == 0 ? give_done(b, e) : -1;
}

/* ---- Sequences ---- */

static void add_ids(struct embed_batch *b, const uint32_t *ids, size_t n) {
    if (b->n_ids + n > b->ids_cap) {
        b->ids_cap = larger(b->n_ids + n, 2 * b->ids_cap);
        b->ids = xreallocarray(b->ids, b->ids_cap, sizeof *b->ids);
    }
    if (n > 0)
        memcpy(b->ids + b->n_ids, ids, n * sizeof *ids);
    b->n_ids += n;
}

/* A piece of up to three parts: the ids that begin a text, some of its own, those that end it. Runs
 * the batch first where it has no room. */
static int add_piece(struct embed_batch *b, struct record *r, const uint32_t *parts[3],
                     const size_t n[3], struct err *e) {
    size_t all = n[0] + n[1] + n[2];
    if (b->n_pieces > 0 &&
        (b->n_pieces == b->job->max_batch || b->n_ids + all > (size_t)EMBED_ROWS) &&
        run_batch(b, e) != 0)
        return -1;
    b->pieces[b->n_pieces++] =
        (struct piece){.record = r, .at = b->n_ids, .n = all, .weight = n[1]};
    for (size_t i = 0; i < 3; i++)
        add_ids(b, parts[i], n[i]);
    return 0;
}

/* Whether the ids begin and end as every text does. */
static bool is_framed(const struct embed_job *job, const uint32_t *ids, size_t n) {
    return n >= job->n_begin + job->n_end &&
           memcmp(ids, job->begin, job->n_begin * sizeof *ids) == 0 &&
           memcmp(ids + n - job->n_end, job->end, job->n_end * sizeof *ids) == 0;
}

/* A sequence of more than max_ids: its beginning, or windows of equal length but for the last. */
static int add_long(struct embed_batch *b, struct record *r, const uint32_t *ids, size_t n,
                    struct err *e) {
    const struct embed_job *job = b->job;
    bool framed = (job->n_begin || job->n_end) && is_framed(job, ids, n);
    size_t begin = framed ? job->n_begin : 0, end = framed ? job->n_end : 0;
    size_t room = job->max_ids - begin - end, own = n - begin - end;
    size_t windows = job->is_long == EMBED_WINDOW ? (own + room - 1) / room : 1;
    const uint32_t *parts[3] = {ids, NULL, ids + n - end};
    r->n_left = windows;
    if (windows > 1)
        r->mean = xcalloc(b->pooled_dim, sizeof *r->mean);
    for (size_t w = 0; w < windows; w++) {
        size_t left = own - w * room;
        const size_t sizes[3] = {begin, left < room ? left : room, end};
        parts[1] = ids + begin + w * room;
        if (add_piece(b, r, parts, sizes, e) != 0)
            return -1;
    }
    return 0;
}

/* XLM-RoBERTa gives padding no position of its own. */
static bool has_padding(const struct spec *spec, const uint32_t *ids, size_t n) {
    for (size_t i = 0; i < n && spec->pos_offset > 0; i++)
        if (ids[i] == spec->pos_offset - 1)
            return true;
    return false;
}

static struct record *new_record(struct embed_batch *b, const struct embed_sequence *q) {
    struct record *r = xcalloc(1, sizeof *r);
    r->shown.owner = q->owner;
    r->shown.number = q->number;
    r->shown.n_tokens = q->n_ids;
    r->shown.said = q->said;
    buf_add(&r->attrs, q->attrs.p, q->attrs.n);
    if (b->n_records == b->records_cap) {
        b->records_cap = b->records_cap ? 2 * b->records_cap : 64;
        b->records = xreallocarray(b->records, b->records_cap, sizeof *b->records);
    }
    b->records[b->n_records++] = r;
    return r;
}

/* Why it has no vector; false if it can have one. */
static bool is_refused(const struct embed_job *job, const struct embed_sequence *q, char *why,
                       size_t size) {
    const struct spec *spec = model_spec(job->model);
    if (q->n_ids == 0)
        snprintf(why, size, "the sequence is empty: there is nothing to go on from");
    else if (has_padding(spec, q->ids, q->n_ids))
        snprintf(why, size, "id %zu is padding, which has no position", spec->pos_offset - 1);
    else if (q->n_ids > job->max_ids && job->is_long == EMBED_REFUSE)
        snprintf(why, size,
                 "%zu ids, but at most %zu fit (--truncate cuts, --window takes the mean of "
                 "windows)",
                 q->n_ids, job->max_ids);
    else
        return false;
    return true;
}

static int add_pieces(struct embed_batch *b, struct record *r, const struct embed_sequence *q,
                      struct err *e) {
    r->pooled = xcalloc(b->pooled_dim, sizeof *r->pooled);
    r->n_left = 1;
    if (q->n_ids > b->job->max_ids)
        return add_long(b, r, q->ids, q->n_ids, e);
    const uint32_t *parts[3] = {NULL, q->ids, NULL};
    const size_t sizes[3] = {0, q->n_ids, 0};
    return add_piece(b, r, parts, sizes, e);
}

int embed_batch_add(struct embed_batch *b, const struct embed_sequence *q, struct err *e) {
    struct record *r = new_record(b, q);
    char why[160];
    if (q->refused.n)
        fail(r, q->refused);
    else if (is_refused(b->job, q, why, sizeof why))
        fail(r, str_of(why));
    else if (add_pieces(b, r, q, e) != 0)
        return -1;
    b->waiting += sizeof *r + q->attrs.n + q->refused.n;
    if (b->waiting > MOST_WAITING)
        return embed_batch_run(b, e);
    return b->n_pieces == 0 ? give_done(b, e) : 0;
}

int embed_batch_run(struct embed_batch *b, struct err *e) {
    if (b->n_pieces > 0 && run_batch(b, e) != 0)
        return -1;
    return give_done(b, e);
}

/* ---- Opening ---- */

struct embed_batch *embed_batch_new(const struct embed_job *job, embed_done_fn *done, void *ctx) {
    struct embed_batch *b = xcalloc(1, sizeof *b);
    const struct spec *spec = model_spec(job->model);
    b->job = job;
    b->done = done;
    b->ctx = ctx;
    b->dim = spec->hidden_dim;
    b->pooled_dim = pooling_count(job->pools) * b->dim;
    b->rows_cap = embed_rows(spec, job->max_ids);
    b->pieces = xcalloc(job->max_batch, sizeof *b->pieces);
    b->rows = xcalloc(b->rows_cap, sizeof *b->rows);
    b->hidden = model_host_alloc(job->model, b->rows_cap * b->dim, sizeof *b->hidden);
    b->vector = xcalloc(embed_steps_dim(job->steps), sizeof *b->vector);
    b->pooled = xcalloc(b->pooled_dim, sizeof *b->pooled);
    embed_pool_init(&b->pool, job->pools, b->dim);
    return b;
}

void embed_batch_free(struct embed_batch *b) {
    if (!b)
        return;
    for (size_t i = 0; i < b->n_records; i++)
        free_record(b->records[i]);
    free(b->records);
    free(b->pieces);
    free(b->ids);
    free(b->rows);
    model_host_free(b->job->model, b->hidden);
    free(b->vector);
    free(b->pooled);
    embed_pool_free(&b->pool);
    free(b);
}
