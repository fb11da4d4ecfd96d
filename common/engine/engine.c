/* The engine: clients, and their sequences from the first id to the last. See engine.h.
 *
 * A sequence lives like this: engine_open queues its prompt as a job; advance makes the job
 * runnable, after taking from the prefix cache what it can (engine_share.c); steps run its rows,
 * and take the job off (engine_step.c); advance goes on to the next, which a request has queued;
 * end_seq closes the sequence and offers its pages to the prefix cache. Where memory is short, it
 * is paused on its way (engine_pause.c).
 *
 * An event of a failed client is dropped, so that the code below need not care. Its sequences are
 * closed at the end of the call.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "engine/engine.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/progress.h"
#include "engine/engine_private.h"

/* Memory for the logits and hidden states of one step, unless max_in_flight rows take more. */
enum { LOGITS_BYTES = 32 << 20 };

size_t engine_slots(const struct engine_options *o) {
    return o->slots ? o->slots : o->max_in_flight + ENGINE_FORKS;
}

size_t engine_most_chunk(const struct engine_options *o) {
    return o->chunk ? o->chunk : o->auto_chunk ? o->auto_chunk : CPU_PROMPT_ROWS;
}

size_t engine_rows(const struct engine_options *o) {
    return engine_most_chunk(o) + (o->max_in_flight > BATCH_SHORT ? o->max_in_flight : BATCH_SHORT);
}

static void take_hidden_memory(struct engine *g) {
    model_host_free(g->model, g->hidden);
    free(g->of_part);
    g->hidden = NULL;
    if (g->n_hidden > 0)
        g->hidden = model_host_alloc(g->model, g->batch.max_want,
                                     g->n_hidden * g->hidden_dim * sizeof(float));
    g->of_part = xcalloc(g->n_hidden, sizeof *g->of_part);
}

void engine_set_hidden(struct engine *g, const struct hidden_layers *layers) {
    g->n_hidden = layers->n;
    if (layers->n > 0)
        model_set_hidden_layers(g->model, layers);
    take_hidden_memory(g);
}

size_t engine_free_slots(const struct engine *g) {
    return g->seqs.n_slots - g->seqs.n_open;
}

struct engine *engine_new(const struct engine_options *o, struct model *m) {
    struct engine *g = xcalloc(1, sizeof *g);
    const struct spec *spec = model_spec(m);
    *g = (struct engine){.opts = *o, .model = m};
    g->vocab_size = spec->vocab_size;
    g->hidden_dim = spec->hidden_dim;
    seqs_init(&g->seqs, (uint32_t)engine_slots(o), (uint32_t)spec->vocab_size,
              (uint32_t)model_context(m));
    g->n_hidden = o->hidden ? model_hidden(m)->n : 0;
    size_t rows = engine_rows(o),
           row_bytes = (g->vocab_size + g->n_hidden * g->hidden_dim) * sizeof(float),
           max_want = LOGITS_BYTES / row_bytes;
    if (max_want < rows - engine_most_chunk(o))
        max_want = rows - engine_most_chunk(o);
    if (max_want > rows)
        max_want = rows;
    batch_init(&g->batch, rows, max_want, engine_slots(o));
    g->logits = model_host_alloc(m, max_want, g->vocab_size * sizeof(float));
    take_hidden_memory(g);
    g->counters.last_step = seconds_now();
    return g;
}

void engine_free(struct engine *g) {
    if (!g)
        return;
    seqs_free(&g->seqs);
    batch_free(&g->batch);
    model_host_free(g->model, g->logits);
    model_host_free(g->model, g->hidden);
    free(g->of_part);
    free(g);
}

const struct engine_counters *engine_counters(const struct engine *g) {
    return &g->counters;
}

/* ---- Clients that fail ---- */

/* rc is what a function of c has returned. */
void engine_note_failure(struct engine *g, struct engine_client *c, int rc) {
    if (rc != 0)
        c->failed = g->some_failed = true;
}

static void tell_ended(struct engine *g, struct engine_client *c, uint32_t number,
                       const char *reason) {
    if (!c->failed)
        engine_note_failure(g, c, c->ended(c->ctx, number, reason, &c->err));
}

/* Closes a sequence without an event. */
static void drop_seq(struct engine *g, struct seq *s, bool cache) {
    uint32_t slot = s->slot;
    if (cache)
        model_seq_keep(g->model, slot);
    model_seq_clear(g->model, slot);
    seqs_close(&g->seqs, s);
    engine_wake(g, slot);
}

void engine_leave(struct engine *g, struct engine_client *c) {
    for (uint32_t slot = 0; slot < g->seqs.n_slots && c->n_open > 0; slot++)
        if (g->seqs.seq[slot].open && g->seqs.seq[slot].client == c)
            drop_seq(g, &g->seqs.seq[slot], true);
}

/* The end of each public call: sequences of clients that have failed in it are closed. */
void engine_drop_failed(struct engine *g) {
    for (uint32_t slot = 0; slot < g->seqs.n_slots && g->some_failed; slot++)
        if (g->seqs.seq[slot].open && g->seqs.seq[slot].client->failed)
            drop_seq(g, &g->seqs.seq[slot], true);
    g->some_failed = false;
}

static int result_for(struct engine *g, const struct engine_client *c, struct err *e) {
    engine_drop_failed(g);
    if (!c->failed)
        return 0;
    if (e)
        *e = c->err;
    return -1;
}

/* ---- Sequences end and advance ---- */

/* With a reason: it has failed, and so have the forks that were still to be made of it. */
void engine_end_seq(struct engine *g, struct seq *s, const char *reason) {
    struct engine_client *c = s->client;
    uint32_t number = s->number;
    for (struct seq_job *j = s->jobs; j; j = j->next)
        if (j->type == ENGINE_FORK && j->to != SEQ_NONE)
            engine_end_seq(g, &g->seqs.seq[j->to], "the sequence to be copied has ended");
    drop_seq(g, s, !reason);
    tell_ended(g, c, number, reason);
}

/* Carries out the jobs that run no rows, up to the first that does. */
void engine_advance(struct engine *g, struct seq *s) {
    if (engine_ends_paused(s))
        engine_end_seq(g, s, NULL);
    if (!s->open || s->paused)
        return;
    while (s->jobs && !s->copying && !s->runnable && !s->waits) {
        struct seq_job *j = s->jobs;
        if (j->type == ENGINE_CLOSE) {
            engine_end_seq(g, s, NULL);
            return;
        }
        if (j->type == ENGINE_EXTEND && model_seq_len(g->model, s->slot) > j->pos + j->done)
            model_seq_truncate(g->model, s->slot, j->pos + j->done);
        if (j->type == ENGINE_EXTEND && j->n_ids > 0) {
            if (g->opts.pauses && j->is_prompt && j->done == 0 && !engine_has_room(g, s)) {
                seqs_set_paused(&g->seqs, s, true);
                g->counters.paused++;
                return;
            }
            model_seq_expect(g->model, s->slot, j->len);
            engine_start(g, s);
            return;
        }
        uint32_t to = j->type == ENGINE_FORK ? j->to : SEQ_NONE, pos = j->pos;
        seqs_pop_job(s);
        if (to != SEQ_NONE) {
            model_seq_fork(g->model, to, s->slot, pos);
            g->seqs.seq[to].copying = false;
            engine_advance(g, &g->seqs.seq[to]);
        }
    }
    if (!s->jobs && !s->copying && s->client->asking == ENGINE_ASKS_NEVER)
        engine_end_seq(g, s, NULL);
}

/* ---- What clients ask for ---- */

/* The sequence of that number, open or not, has failed. */
static void refuse(struct engine *g, struct engine_client *c, uint32_t number, const char *reason) {
    struct seq *s = seqs_find(&g->seqs, c, number);
    if (s)
        engine_end_seq(g, s, reason);
    else
        tell_ended(g, c, number, reason);
}

/* The sequence of a prompt that was checked, still without jobs. */
static struct seq *open_seq(struct engine *g, struct engine_client *c,
                            const struct engine_prompt *p) {
    struct seq *s = seqs_open(&g->seqs, c, p->seq);
    s->salt = p->salt;
    s->reuse.tells = p->tells;
    model_seq_set_salt(g->model, s->slot, &p->salt);
    return s;
}

int engine_open(struct engine *g, struct engine_client *c, const struct engine_prompt *p,
                struct err *e) {
    struct err bad = {0};
    if (c->failed)
        return result_for(g, c, e);
    if (seqs_check_prompt(&g->seqs, c, p->seq, p->ids, p->n_ids, p->want, &bad) != 0) {
        refuse(g, c, p->seq, bad.msg);
        return result_for(g, c, e);
    }
    struct seq *s = open_seq(g, c, p);
    seqs_prompt(s, p->ids, p->n_ids, p->want);
    engine_advance(g, s);
    return result_for(g, c, e);
}

int engine_score(struct engine *g, struct engine_client *c, const struct engine_prompt *p,
                 uint32_t from, struct err *e) {
    struct err bad = {0};
    if (c->failed)
        return result_for(g, c, e);
    if (seqs_check_prompt(&g->seqs, c, p->seq, p->ids, p->n_ids, 0, &bad) != 0) {
        refuse(g, c, p->seq, bad.msg);
    } else if (from == 0 || from > p->n_ids) {
        err_set(&bad, EXIT_DATA,
                "ids from %" PRIu32 " on are to be scored, but from 1 to %" PRIu32 " is possible",
                from, p->n_ids);
        refuse(g, c, p->seq, bad.msg);
    } else if (from == p->n_ids) {
        tell_ended(g, c, p->seq, NULL);
    } else {
        struct seq *s = open_seq(g, c, p);
        seqs_scored_prompt(s, p->ids, p->n_ids, from);
        engine_advance(g, s);
    }
    return result_for(g, c, e);
}

int engine_request(struct engine *g, struct engine_client *c, const struct engine_request *r,
                   struct err *e) {
    struct err bad = {0};
    uint32_t number = r->seq;
    if (c->failed)
        return result_for(g, c, e);
    if (seqs_request(&g->seqs, c, r, &bad) != 0) {
        refuse(g, c, r->seq, bad.msg);
        return result_for(g, c, e);
    }
    if (r->type == ENGINE_FORK) {
        engine_note_failure(g, c, c->forked(c->ctx, r->seq, r->from, r->pos, &c->err));
        number = r->from;
    }
    struct seq *s = seqs_find(&g->seqs, c, number);
    if (s)
        engine_advance(g, s);
    return result_for(g, c, e);
}

int engine_close_idle(struct engine *g, struct engine_client *c, struct err *e) {
    for (uint32_t slot = 0; slot < g->seqs.n_slots && c->n_open > 0; slot++)
        if (g->seqs.seq[slot].open && g->seqs.seq[slot].client == c)
            engine_advance(g, &g->seqs.seq[slot]);
    return result_for(g, c, e);
}
