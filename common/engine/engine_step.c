/* A step of the engine: one batch, its events, and what is done after it. See engine.h.
 *
 * A client that has logits is about to ask for more. A step that did not wait for it would run its
 * rows apart from the others' from then on, in two batches that each read all the weights. So a
 * step waits for requests, for at most half the time of a step without prompts, and once for each
 * row of logits.
 *
 * While a sequence is decoding, or had logits shortly before, prompts enter in chunks that keep a
 * step short (chunk.h); otherwise in large ones.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "base/progress.h"
#include "engine/engine_private.h"

/* A sequence that has had no request for this long is not decoding. */
static const double asked_seconds = 0.25;

const struct err *engine_lost(const struct engine *g) {
    return g->lost.code != 0 ? &g->lost : NULL;
}

double engine_due(const struct engine *g) {
    if (g->lost.code != 0)
        return (double)INFINITY;
    if (!batch_any(&g->seqs))
        return engine_next_paused(g) ? g->asked_until : (double)INFINITY;
    return g->seqs.n_unanswered > 0 ? g->answers_until : 0;
}

static void forget_unanswered(struct engine *g) {
    for (uint32_t slot = 0; slot < g->seqs.n_slots && g->seqs.n_unanswered > 0; slot++)
        seqs_set_unanswered(&g->seqs, &g->seqs.seq[slot], false);
}

/* Rows of prompts in the next step. */
static size_t next_chunk(const struct engine *g) {
    size_t short_rows, n_long;
    if (g->opts.chunk)
        return g->opts.chunk;
    batch_count(&g->seqs, &short_rows, &n_long);
    bool waited_for = short_rows > 0 || (g->seqs.n_open > n_long && seconds_now() < g->asked_until);
    return n_long == 0 ? 0
                       : chunk_rows(&g->chunk, short_rows, waited_for, engine_most_chunk(&g->opts));
}

/* Whether a part is the end of a prompt, whose reuse is then known. */
static bool ends_prompt(const struct seq_job *j, const struct batch_part *p) {
    return j->is_prompt && !j->is_replay && j->done + p->n_rows == j->n_ids;
}

/* The events of one part, whose rows of logits are the batch's from `at` on. */
static void tell_part(struct engine *g, const struct batch_part *p, size_t at) {
    const struct seq *s = &g->seqs.seq[p->slot];
    struct engine_client *c = s->client;
    const struct seq_job *j = s->jobs;
    c->in_step = true;
    if (!c->failed && j->done == 0 && !j->is_prompt)
        engine_note_failure(g, c,
                            c->appended(c->ctx, s->number, j->pos, j->ids, j->n_ids, &c->err));
    if (!c->failed && c->reused && s->reuse.tells != ENGINE_TELLS_NOTHING && ends_prompt(j, p))
        engine_note_failure(g, c, c->reused(c->ctx, s->number, &s->reuse, &c->err));
    if (c->failed || p->n_want == 0)
        return;
    uint32_t pos = j->pos + j->done + p->n_rows - p->n_want;
    for (size_t i = 0; i < g->n_hidden; i++)
        g->of_part[i] = g->hidden + (i * g->batch.n_want + at) * g->hidden_dim;
    engine_note_failure(g, c,
                        c->rows(c->ctx, s->number, pos, p->n_want, g->logits + at * g->vocab_size,
                                g->hidden && !c->no_hidden ? g->of_part : NULL, &c->err));
}

/* All events of the batch; they point into jobs, logits and hidden states. */
static void tell_results(struct engine *g) {
    size_t at = 0;
    for (size_t i = 0; i < g->batch.n_parts; at += g->batch.parts[i++].n_want)
        tell_part(g, &g->batch.parts[i], at);
    for (size_t i = 0; i < g->batch.n_parts; i++) {
        struct engine_client *c = g->seqs.seq[g->batch.parts[i].slot].client;
        if (c->in_step && !c->failed)
            engine_note_failure(g, c, c->stepped(c->ctx, &c->err));
        c->in_step = false;
    }
}

/* Whether a client that asks has got logits in this step. */
static bool will_be_asked(const struct engine *g) {
    for (size_t i = 0; i < g->batch.n_parts; i++)
        if (g->batch.parts[i].n_want > 0 &&
            g->seqs.seq[g->batch.parts[i].slot].client->asking == ENGINE_ASKS)
            return true;
    return false;
}

static void finish_parts(struct engine *g) {
    bool cached = false;
    for (size_t i = 0; i < g->batch.n_parts; i++) {
        const struct batch_part *p = &g->batch.parts[i];
        struct seq *s = &g->seqs.seq[p->slot];
        s->jobs->done += p->n_rows;
        if (s->jobs->done < s->jobs->n_ids)
            continue;
        seqs_set_runnable(&g->seqs, s, false);
        if (s->jobs->is_prompt && !s->jobs->is_replay) {
            (s->jobs->is_scored ? model_seq_keep_all : model_seq_keep)(g->model, s->slot);
            cached = true;
        }
        seqs_pop_job(s);
        seqs_set_unanswered(&g->seqs, s,
                            s->client->asking == ENGINE_ASKS && p->n_want > 0 && !s->jobs);
        engine_advance(g, s);
    }
    for (uint32_t i = 0; cached && i < g->seqs.n_queue; i++)
        engine_share(g, &g->seqs.seq[g->seqs.queue[i]]);
}

/* The times after a step that model_forward took `seconds` for and whose results are told. */
static void note_times(struct engine *g, double seconds) {
    double end = seconds_now(), alone = chunk_step(&g->chunk, g->batch.n_parts);
    if (g->batch.n_prompt_rows == 0)
        g->counters.decode_whole += end - g->counters.last_step;
    g->counters.last_step = end;
    if (g->counters.first_rows == 0 && g->batch.n_want > 0)
        g->counters.first_rows = end;
    g->answers_until = end + (alone > 0 && alone < seconds ? alone : seconds) / 2;
    if (will_be_asked(g))
        g->asked_until = end + asked_seconds;
}

/* Whether a client of the batch is given hidden states. */
static bool wants_hidden(const struct engine *g) {
    for (size_t i = 0; g->hidden && i < g->batch.n_parts; i++)
        if (!g->seqs.seq[g->batch.parts[i].slot].client->no_hidden)
            return true;
    return false;
}

void engine_step(struct engine *g) {
    struct batch *b = &g->batch;
    struct err bad = {0};
    forget_unanswered(g);
    engine_resume(g);
    batch_build(b, &g->seqs, next_chunk(g));
    if (b->n_parts == 0)
        return;
    double start = seconds_now();
    float *hidden = wants_hidden(g) ? g->hidden : NULL;
    if (model_forward(g->model, b->rows, b->n_rows, g->logits, hidden, &bad) != 0) {
        if (model_lost(g->model)) { // nothing can run any more, and no sequence is to blame
            g->lost = bad;
            return;
        }
        if (g->opts.pauses) {
            engine_make_room(g, bad.msg);
            engine_drop_failed(g);
            return;
        }
        // No memory for the KV of all: the last of the batch ends.
        engine_end_seq(g, &g->seqs.seq[b->parts[b->n_parts - 1].slot], bad.msg);
        engine_drop_failed(g);
        return;
    }
    double seconds = seconds_now() - start;
    g->is_short = false;
    counters_add(&g->counters, b, seconds);
    chunk_note(&g->chunk, b->n_prompt_rows, b->n_rows - b->n_prompt_rows, seconds);
    tell_results(g);
    note_times(g, seconds);
    finish_parts(g);
    engine_drop_failed(g);
}
