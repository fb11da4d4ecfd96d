/* Sequences to vectors: see embed.h.
 *
 *     line -> record -> pieces -> batch -> hidden states -> pooled -> vector -> out
 *
 * A record has one piece, or a piece a window. Pieces run in the order of the records, so records
 * are complete in order as well. Before the stage waits for input, it runs and writes what it has.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/embed.h"

#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/json.h"
#include "base/visible.h"
#include "chat/record.h"
#include "stages/input.h"

/* A line of the input that has no vector yet. */
struct record {
    uint64_t number;
    struct buf attrs, reason; // reason: why it failed
    bool failed;
    size_t n_tokens, n_left; // ids of the line; pieces that have not run
    float *pooled;           // [pooled_dim], or NULL
    double *mean;            // [pooled_dim] of windows; NULL: one piece
    double weight;           // ids of the windows in it
};

/* Ids that run together. */
struct piece {
    struct record *record;
    size_t at, n, weight; // ids [at, at + n) of the batch; those that count for a mean of windows
};

struct embed {
    const struct embed_job *job;
    struct input *input;
    struct logits_header header; // what input.h checks lines against
    FILE *out;
    size_t dim, pooled_dim, steps_dim; // of a hidden state; of pooled; after the steps
    struct record **records;           // [n_records] without an answer, in order
    size_t n_records, records_cap;
    struct piece *pieces; // [n_pieces] of the batch
    size_t n_pieces;
    uint32_t *ids; // [n_ids] of the batch
    size_t n_ids, ids_cap;
    struct row *rows;        // [EMBED_ROWS or more]
    size_t rows_cap;         // rows of one step
    float *hidden;           // [rows_cap, dim]
    struct embed_pool *pool; // of one piece
    struct embed_pool own_pool;
    float *vector, *pooled; // [steps_dim], [pooled_dim]
    void *packed;           // a vector in the header's dtype
    struct buf line;
    uint64_t n_written;
    bool terminal; // out is one: control characters are escaped
    int status;
    bool begun;
};

size_t embed_rows(const struct spec *s, size_t max_ids) {
    return s->bidirectional && max_ids > EMBED_ROWS ? max_ids : EMBED_ROWS;
}

/* ---- Writing ---- */

static void write_json(struct embed *s, const struct record *r) {
    struct buf *line = &s->line;
    struct str attrs = buf_view(&r->attrs), reason = buf_view(&r->reason);
    buf_clear(line);
    buf_byte(line, '{');
    record_write_own(line, attrs, r->failed ? "error" : "embedding");
    if (r->failed)
        json_write_str(line, reason);
    for (size_t i = 0; !r->failed && i < s->job->header.dim; i++) {
        buf_str(line, i == 0 ? "[" : ", ");
        json_write_f64(line, (double)s->vector[i]);
    }
    buf_str(line, r->failed ? "" : "]");
    record_write_attrs(line, attrs);
    buf_str(line, "}\n");
    // The first member has no comma before it.
    if (line->n > 2 && line->p[1] == ',')
        memmove(line->p + 1, line->p + 3, line->n -= 2);
    visible_write(s->out, buf_view(line), s->terminal);
}

static int write_npy(struct embed *s, const struct record *r, struct err *e) {
    for (size_t i = 0; r->failed && i < s->job->header.dim; i++)
        s->vector[i] = NAN;
    return npy_rows(s->job->npy, (uint32_t)r->number, s->vector, 1, e) != 0 ||
                   npy_end(s->job->npy, (uint32_t)r->number, e) != 0
               ? -1
               : 0;
}

static int write_record(struct embed *s, const struct record *r, struct err *e) {
    const struct embed_job *job = s->job;
    struct vectors_record v = {.type = r->failed ? VECTORS_FAILED : VECTORS_VALUES,
                               .id = r->number,
                               .n_tokens = (uint32_t)r->n_tokens,
                               .values = s->packed,
                               .attrs = buf_view(&r->attrs),
                               .reason = buf_view(&r->reason)};
    s->n_written++;
    if (job->npy)
        return write_npy(s, r, e);
    if (job->json) {
        write_json(s, r);
        return 0;
    }
    if (!r->failed)
        vectors_pack(&job->header, s->vector, s->packed, &v.scale);
    return vectors_write(s->out, &job->header, &v, e);
}

/* ---- Vectors ---- */

/* s->vector = the vector of what was pooled. False if it is not finite. */
static bool make_vector(struct embed *s, const float *pooled) {
    const struct embed_job *job = s->job;
    embed_steps_run(job->steps, pooled, job->normalize, s->vector);
    if (job->unit)
        embed_normalize(s->vector, job->header.dim);
    for (size_t i = 0; i < job->header.dim; i++)
        if (!isfinite(s->vector[i]))
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

static void fail(struct embed *s, struct record *r, bool say, struct str reason) {
    buf_add(&r->reason, reason.p, reason.n);
    r->failed = true;
    s->status = EXIT_SOME_FAILED;
    if (say)
        warn("sequence %" PRIu64 ": %.*s", r->number, (int)reason.n, reason.p);
}

/* Writes the records whose pieces have all run. */
static int write_done(struct embed *s, struct err *e) {
    size_t n = 0;
    int rc = 0;
    for (; n < s->n_records && s->records[n]->n_left == 0 && rc == 0; n++) {
        struct record *r = s->records[n];
        for (size_t i = 0; r->mean && i < s->pooled_dim; i++)
            r->pooled[i] = (float)(r->mean[i] / r->weight);
        if (!r->failed && !make_vector(s, r->pooled))
            fail(s, r, true, str_of("the vector has values that are not finite"));
        rc = write_record(s, r, e);
        free_record(r);
    }
    s->n_records -= n;
    if (s->n_records > 0)
        memmove(s->records, s->records + n, s->n_records * sizeof *s->records);
    return rc;
}

/* ---- A batch ---- */

/* What a piece pooled goes to its record. */
static void end_piece(struct embed *s, const struct piece *p) {
    struct record *r = p->record;
    float *to = r->mean ? s->pooled : r->pooled;
    embed_pool_end(s->pool, p->n, to);
    for (size_t i = 0; r->mean && i < s->pooled_dim; i++)
        r->mean[i] += (double)p->weight * (double)to[i];
    r->weight += (double)p->weight;
    r->n_left--;
}

/* One step of rows; the hidden states of those that are wanted go to the pool of their piece. A
 * piece that begins in it is cleared first, one that ends in it is complete. */
static int run_rows(struct embed *s, size_t n_rows, const size_t *piece_of, struct err *e) {
    if (model_forward(s->job->model, s->rows, n_rows, NULL, s->hidden, e) != 0)
        return -1;
    const float *hidden = s->hidden;
    for (size_t i = 0; i < n_rows; i++) {
        const struct piece *p = &s->pieces[piece_of[i]];
        if (s->rows[i].pos == 0)
            embed_pool_clear(s->pool);
        if (s->rows[i].want) {
            embed_pool_take(s->pool, hidden, s->rows[i].pos);
            hidden += s->dim;
        }
        if (s->rows[i].pos + (size_t)1 == p->n)
            end_piece(s, p);
    }
    return 0;
}

/* Runs the pieces of the batch: all in one step, or a single long one in several. */
static int run_batch(struct embed *s, struct err *e) {
    const struct embed_job *job = s->job;
    size_t *piece_of = xcalloc(s->rows_cap, sizeof *piece_of), n_rows = 0;
    int rc = 0;
    for (size_t k = 0; k < s->n_pieces; k++)
        model_seq_expect(job->model, k, s->pieces[k].n);
    for (size_t k = 0; k < s->n_pieces && rc == 0; k++)
        for (size_t i = 0; i < s->pieces[k].n && rc == 0; i++) {
            if (n_rows == s->rows_cap) {
                rc = run_rows(s, n_rows, piece_of, e);
                n_rows = 0;
            }
            piece_of[n_rows] = k;
            s->rows[n_rows++] =
                (struct row){.slot = (uint32_t)k,
                             .pos = (uint32_t)i,
                             .id = s->ids[s->pieces[k].at + i],
                             .want = embed_pool_wants(job->pools, i, s->pieces[k].n)};
        }
    if (rc == 0 && n_rows > 0)
        rc = run_rows(s, n_rows, piece_of, e);
    for (size_t k = 0; k < s->n_pieces; k++)
        model_seq_clear(job->model, k);
    s->n_pieces = s->n_ids = 0;
    free(piece_of);
    return rc == 0 ? write_done(s, e) : -1;
}

/* ---- Records ---- */

static void add_ids(struct embed *s, const uint32_t *ids, size_t n) {
    if (s->n_ids + n > s->ids_cap) {
        s->ids_cap = larger(s->n_ids + n, 2 * s->ids_cap);
        s->ids = xreallocarray(s->ids, s->ids_cap, sizeof *s->ids);
    }
    if (n > 0)
        memcpy(s->ids + s->n_ids, ids, n * sizeof *ids);
    s->n_ids += n;
}

/* A piece of up to three parts: the ids that begin a text, some of its own, those that end it. Runs
 * the batch first where it has no room. */
static int add_piece(struct embed *s, struct record *r, const uint32_t *parts[3], const size_t n[3],
                     struct err *e) {
    size_t all = n[0] + n[1] + n[2];
    if (s->n_pieces > 0 &&
        (s->n_pieces == s->job->max_batch || s->n_ids + all > (size_t)EMBED_ROWS) &&
        run_batch(s, e) != 0)
        return -1;
    s->pieces[s->n_pieces++] =
        (struct piece){.record = r, .at = s->n_ids, .n = all, .weight = n[1]};
    for (size_t i = 0; i < 3; i++)
        add_ids(s, parts[i], n[i]);
    return 0;
}

/* Whether the ids begin and end as every text does. */
static bool is_framed(const struct embed_job *job, const uint32_t *ids, size_t n) {
    return n >= job->n_begin + job->n_end &&
           memcmp(ids, job->begin, job->n_begin * sizeof *ids) == 0 &&
           memcmp(ids + n - job->n_end, job->end, job->n_end * sizeof *ids) == 0;
}

/* A sequence of more than max_ids: its beginning, or windows of equal length but for the last. */
static int add_long(struct embed *s, struct record *r, const uint32_t *ids, size_t n,
                    struct err *e) {
    const struct embed_job *job = s->job;
    bool framed = (job->n_begin || job->n_end) && is_framed(job, ids, n);
    size_t begin = framed ? job->n_begin : 0, end = framed ? job->n_end : 0;
    size_t room = job->max_ids - begin - end, own = n - begin - end;
    size_t windows = job->is_long == EMBED_WINDOW ? (own + room - 1) / room : 1;
    const uint32_t *parts[3] = {ids, NULL, ids + n - end};
    r->n_left = windows;
    if (windows > 1)
        r->mean = xcalloc(s->pooled_dim, sizeof *r->mean);
    for (size_t w = 0; w < windows; w++) {
        size_t left = own - w * room;
        const size_t sizes[3] = {begin, left < room ? left : room, end};
        parts[1] = ids + begin + w * room;
        if (add_piece(s, r, parts, sizes, e) != 0)
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

static struct record *new_record(struct embed *s, const struct input_prompt *p) {
    struct record *r = xcalloc(1, sizeof *r);
    r->number = p->number;
    r->n_tokens = p->n_ids;
    buf_add(&r->attrs, p->attrs.p, p->attrs.n);
    if (s->n_records == s->records_cap) {
        s->records_cap = s->records_cap ? 2 * s->records_cap : 64;
        s->records = xreallocarray(s->records, s->records_cap, sizeof *s->records);
    }
    s->records[s->n_records++] = r;
    return r;
}

static int take_line(struct embed *s, const struct input_prompt *p, struct err *e) {
    const struct embed_job *job = s->job;
    struct record *r = new_record(s, p);
    char why[160];
    if (p->refused.n) {
        fail(s, r, !p->said_before, p->refused);
        return 0;
    }
    if (has_padding(model_spec(job->model), p->ids, p->n_ids)) {
        snprintf(why, sizeof why, "id %zu is padding, which has no position",
                 model_spec(job->model)->pos_offset - 1);
        fail(s, r, true, str_of(why));
        return 0;
    }
    if (p->n_ids > job->max_ids && job->is_long == EMBED_REFUSE) {
        snprintf(why, sizeof why,
                 "%" PRIu32 " ids, but at most %zu fit (--truncate cuts, --window takes the mean "
                 "of windows)",
                 p->n_ids, job->max_ids);
        fail(s, r, true, str_of(why));
        return 0;
    }
    r->pooled = xcalloc(s->pooled_dim, sizeof *r->pooled);
    r->n_left = 1;
    if (p->n_ids > job->max_ids)
        return add_long(s, r, p->ids, p->n_ids, e);
    const uint32_t *parts[3] = {NULL, p->ids, NULL};
    const size_t sizes[3] = {0, p->n_ids, 0};
    return add_piece(s, r, parts, sizes, e);
}

/* ---- The loop ---- */

static int begin(struct embed *s, struct err *e) {
    if (s->begun || !input_begun(s->input))
        return 0;
    struct err warning = {0};
    s->begun = true;
    if (input_check(s->input, &s->header, &warning, e) != 0)
        return -1;
    if (warning.code)
        warn_err(&warning);
    return 0;
}

/* Whether a read would wait. */
static bool would_wait(const struct embed *s) {
    struct pollfd p = {.fd = input_poll_fd(s->input), .events = POLLIN};
    return p.fd >= 0 && poll(&p, 1, 0) == 0;
}

static int run_all(struct embed *s, struct err *e) {
    if (s->n_pieces > 0 && run_batch(s, e) != 0)
        return -1;
    return write_done(s, e);
}

static int take_input(struct embed *s, struct err *e) {
    struct input_prompt p;
    for (;;) {
        if (begin(s, e) != 0)
            return -1;
        while (s->begun && input_next(s->input, &s->header, &p))
            if (take_line(s, &p, e) != 0 || (s->n_pieces == 0 && write_done(s, e) != 0))
                return -1;
        if (input_ended(s->input))
            return run_all(s, e);
        if (would_wait(s) && (run_all(s, e) != 0 || flush_out(s->out, e) != 0))
            return -1;
        input_fill(s->input);
    }
}

static void make_room(struct embed *s) {
    const struct embed_job *job = s->job;
    const struct spec *spec = model_spec(job->model);
    s->dim = spec->hidden_dim;
    s->pooled_dim = pooling_count(job->pools) * s->dim;
    s->steps_dim = embed_steps_dim(job->steps);
    s->rows_cap = embed_rows(spec, job->max_ids);
    s->pieces = xcalloc(job->max_batch, sizeof *s->pieces);
    s->rows = xcalloc(s->rows_cap, sizeof *s->rows);
    s->hidden = model_host_alloc(job->model, s->rows_cap * s->dim, sizeof *s->hidden);
    s->vector = xcalloc(s->steps_dim, sizeof *s->vector);
    s->pooled = xcalloc(s->pooled_dim, sizeof *s->pooled);
    s->packed = xcalloc(job->header.dim, sizeof(float));
    s->pool = &s->own_pool;
    embed_pool_init(s->pool, job->pools, s->dim);
}

static void free_room(struct embed *s) {
    for (size_t i = 0; i < s->n_records; i++)
        free_record(s->records[i]);
    free(s->records);
    free(s->pieces);
    free(s->ids);
    free(s->rows);
    model_host_free(s->job->model, s->hidden);
    free(s->vector);
    free(s->pooled);
    free(s->packed);
    embed_pool_free(s->pool);
    buf_free(&s->line);
}

int stage_embed(const struct embed_job *job, int fd, const char *name, FILE *out, int *code,
                struct err *e) {
    struct embed s = {
        .job = job, .out = out, .terminal = visible_terminal(out), .input = input_new(fd, name)};
    bool binary = !job->json && !job->npy;
    // Lines that are too long come whole, so that they can be cut.
    s.header = (struct logits_header){.vocab_size = (uint32_t)model_spec(job->model)->vocab_size,
                                      .context = LOGITS_MAX_CONTEXT,
                                      .tokenizer = job->tokenizer};
    make_room(&s);
    int rc = binary ? vectors_write_header(out, &job->header, e) : 0;
    if (rc == 0)
        rc = take_input(&s, e);
    if (rc == 0 && binary)
        vectors_write_end(out, s.n_written);
    if (flush_out(out, rc == 0 ? e : NULL) != 0)
        rc = -1;
    *code = input_code(s.input) != EXIT_DONE ? input_code(s.input) : s.status;
    input_free(s.input);
    free_room(&s);
    return rc;
}
