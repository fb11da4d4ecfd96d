/* The engine: see engine.h.
 *
 * A sequence lives like this: engine_open queues its prompt as a job; advance makes the job
 * runnable, after taking from the prefix cache what it can; steps run its rows; finish_parts takes
 * the job off and advances to the next, which a request has queued; end_seq closes the sequence and
 * offers its pages to the prefix cache.
 *
 * A client that has logits is about to ask for more. A step that did not wait for it would run its
 * rows apart from the others' from then on, in two batches that each read all the weights. So a
 * step waits for requests, for at most half the time of a step without prompts, and once for each
 * row of logits.
 *
 * While a sequence is decoding, or had logits shortly before, prompts enter in chunks that keep a
 * step short (chunk.h); otherwise in large ones.
 *
 * Sequences to be scored are short continuations of what others have too. So one of them waits
 * where another of its client that is running will soon have cached more of its ids. A sequence
 * that runs waits for none, so no two wait for each other.
 *
 * An event of a failed client is dropped, so that the code below need not care. Its sequences are
 * closed at the end of the call.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "engine/engine.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/progress.h"
#include "engine/batch.h"
#include "engine/chunk.h"
#include "engine/seqs.h"

/* Memory for the logits and hidden states of one step, unless max_in_flight rows take more. */
enum { LOGITS_BYTES = 32 << 20 };

/* A sequence that has had no request for this long is not decoding. */
static const double asked_seconds = 0.25;

struct engine {
    struct engine_options opts;
    struct model *model;
    size_t vocab_size, hidden_dim, n_hidden;
    struct seqs seqs;
    struct batch batch;
    float *logits;         // [batch.max_want, vocab_size]
    float *hidden;         // [n_hidden][batch.n_want, hidden_dim], room for max_want; or NULL
    const float **of_part; // [n_hidden]: a part's rows of each layer
    struct chunk chunk;
    double answers_until; // the next step waits for requests until then
    double asked_until;   // until then, sequences that have logits count as decoding
    bool is_short;        // the last batch did not fit: nothing is resumed until one does
    bool some_failed;     // a client has failed, and may still have sequences
    struct engine_counters counters;
};

size_t engine_slots(const struct engine_options *o) {
    return o->slots ? o->slots : o->max_in_flight + ENGINE_FORKS;
}

static size_t most_chunk(const struct engine_options *o) {
    return o->chunk ? o->chunk : o->auto_chunk ? o->auto_chunk : CPU_PROMPT_ROWS;
}

size_t engine_rows(const struct engine_options *o) {
    return most_chunk(o) + (o->max_in_flight > BATCH_SHORT ? o->max_in_flight : BATCH_SHORT);
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
    if (max_want < rows - most_chunk(o))
        max_want = rows - most_chunk(o);
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

/* ---- Prompts that others have computed in part ---- */

/* The first positions of a prompt that need not be run. Those whose logits are wanted, and the last
 * one, always are. */
static uint32_t most_reused(const struct seq_job *j) {
    return j->n_ids - (j->want > 0 ? j->want : 1);
}

/* Where the prompt and what is cached part. */
static void note_match(struct engine *g, struct seq *s) {
    const struct seq_job *j = s->jobs;
    struct prefix_match m = model_seq_match(g->model, s->slot, j->ids, j->n_ids);
    s->reuse.match = (uint32_t)m.len;
    s->reuse.has_ours = m.len < j->n_ids;
    s->reuse.ours = s->reuse.has_ours ? j->ids[m.len] : 0;
    s->reuse.has_theirs = m.differs;
    s->reuse.theirs = m.theirs;
}

/* Takes from the prefix cache the pages of a prompt that reach past what has been computed. */
static void reuse(struct engine *g, struct seq *s) {
    struct seq_job *j = s->jobs;
    if (!j->is_prompt)
        return;
    uint32_t most = most_reused(j);
    uint32_t len = (uint32_t)(j->is_scored ? model_seq_reuse_any(g->model, s->slot, j->ids, most)
                                           : model_seq_reuse(g->model, s->slot, j->ids, most));
    g->counters.reused += len - j->done;
    if (!j->is_replay) {
        s->reuse.cached += len - j->done;
        if (s->reuse.tells == ENGINE_TELLS_WHY && (j->done == 0 || len > j->done))
            note_match(g, s);
    }
    j->done = len;
}

static uint32_t common_ids(const uint32_t *a, const uint32_t *b, uint32_t n) {
    uint32_t i = 0;
    while (i < n && a[i] == b[i])
        i++;
    return i;
}

/* Whether a scored sequence is running that will have computed more of s's ids, and enough of them
 * to wait for it: an eighth of what s has to run. Sets s->waits_for. */
static bool has_reason_to_wait(const struct engine *g, struct seq *s) {
    const struct seq_job *j = s->jobs;
    uint32_t most = most_reused(j);
    for (uint32_t i = 0; i < g->seqs.n_queue; i++) {
        const struct seq *t = &g->seqs.seq[g->seqs.queue[i]];
        if (!t->jobs->is_scored || t->client != s->client || most <= j->done ||
            memcmp(&t->salt, &s->salt, sizeof t->salt) != 0)
            continue;
        uint32_t n = t->jobs->n_ids < most ? t->jobs->n_ids : most;
        uint32_t common = common_ids(j->ids, t->jobs->ids, n);
        if (common <= j->done || (uint64_t)8 * (common - j->done) <= j->n_ids - j->done)
            continue;
        s->waits_for = t->slot;
        return true;
    }
    return false;
}

/* A prompt or request that has ids to run becomes runnable, now or after what it waits for. */
static void start(struct engine *g, struct seq *s) {
    reuse(g, s);
    seqs_set_waits(&g->seqs, s, s->jobs->is_scored && has_reason_to_wait(g, s));
    seqs_set_runnable(&g->seqs, s, !s->waits);
}

/* The sequence of that slot has ended. A sequence that waited and gained nothing, as where the
 * cache has no room, does not wait again. */
static void wake(struct engine *g, uint32_t slot) {
    for (uint32_t i = 0; i < g->seqs.n_slots && g->seqs.n_waiting > 0; i++) {
        struct seq *s = &g->seqs.seq[i];
        if (!s->open || !s->waits || s->waits_for != slot)
            continue;
        uint32_t before = s->jobs->done;
        start(g, s);
        if (s->waits && s->jobs->done == before) {
            seqs_set_waits(&g->seqs, s, false);
            seqs_set_runnable(&g->seqs, s, true);
        }
    }
}

/* ---- Clients that fail ---- */

/* rc is what a function of c has returned. */
static void note_failure(struct engine *g, struct engine_client *c, int rc) {
    if (rc != 0)
        c->failed = g->some_failed = true;
}

static void tell_ended(struct engine *g, struct engine_client *c, uint32_t number,
                       const char *reason) {
    if (!c->failed)
        note_failure(g, c, c->ended(c->ctx, number, reason, &c->err));
}

/* Closes a sequence without an event. */
static void drop_seq(struct engine *g, struct seq *s, bool cache) {
    uint32_t slot = s->slot;
    if (cache)
        model_seq_keep(g->model, slot);
    model_seq_clear(g->model, slot);
    seqs_close(&g->seqs, s);
    wake(g, slot);
}

void engine_leave(struct engine *g, struct engine_client *c) {
    for (uint32_t slot = 0; slot < g->seqs.n_slots && c->n_open > 0; slot++)
        if (g->seqs.seq[slot].open && g->seqs.seq[slot].client == c)
            drop_seq(g, &g->seqs.seq[slot], true);
}

/* The end of each public call: sequences of clients that have failed in it are closed. */
static void drop_failed(struct engine *g) {
    for (uint32_t slot = 0; slot < g->seqs.n_slots && g->some_failed; slot++)
        if (g->seqs.seq[slot].open && g->seqs.seq[slot].client->failed)
            drop_seq(g, &g->seqs.seq[slot], true);
    g->some_failed = false;
}

static int result_for(struct engine *g, const struct engine_client *c, struct err *e) {
    drop_failed(g);
    if (!c->failed)
        return 0;
    if (e)
        *e = c->err;
    return -1;
}

/* ---- Sequences end and advance ---- */

/* With a reason: it has failed, and so have the forks that were still to be made of it. */
static void end_seq(struct engine *g, struct seq *s, const char *reason) {
    struct engine_client *c = s->client;
    uint32_t number = s->number;
    for (struct seq_job *j = s->jobs; j; j = j->next)
        if (j->type == ENGINE_FORK && j->to != SEQ_NONE)
            end_seq(g, &g->seqs.seq[j->to], "the sequence to be copied has ended");
    drop_seq(g, s, !reason);
    tell_ended(g, c, number, reason);
}

/* ---- Memory for state is short: see engine.h ---- */

/* Whether a paused sequence has anything to do but to compute its state again. */
static bool has_work(const struct seq *s) {
    return s->jobs && (!s->jobs->is_replay || s->jobs->next);
}

/* The positions for which a paused sequence will need room at first. */
static size_t len_to_come(const struct seq *s) {
    const struct seq_job *j = s->jobs;
    size_t len = j->len;
    return j->is_replay && j->next && j->next->len > len ? j->next->len : len;
}

static bool has_room(const struct engine *g, const struct seq *s) {
    return model_kv_needed(g->model, len_to_come(s)) <= model_kv_room(g->model);
}

static void pause_seq(struct engine *g, struct seq *s) {
    size_t len = model_seq_len(g->model, s->slot);
    seqs_set_runnable(&g->seqs, s, false);
    seqs_set_waits(&g->seqs, s, false);
    if (len > 0 && !(s->jobs && s->jobs->is_replay))
        seqs_replay(s, model_seq_ids(g->model, s->slot), (uint32_t)len);
    else if (s->jobs)
        s->jobs->done = 0;
    model_seq_clear(g->model, s->slot);
    seqs_set_paused(&g->seqs, s, true);
    g->counters.paused++;
    wake(g, s->slot);
}

/* The youngest sequence that holds state, or is about to, but `but`; NULL if there is none. */
static struct seq *youngest(struct engine *g, const struct seq *but) {
    struct seq *found = NULL;
    for (uint32_t slot = 0; slot < g->seqs.n_slots; slot++) {
        struct seq *s = &g->seqs.seq[slot];
        if (s->open && s != but && !s->paused &&
            (s->runnable || model_seq_len(g->model, slot) > 0) && (!found || s->born > found->born))
            found = s;
    }
    return found;
}

/* The batch did not fit. The oldest sequence that runs goes on, whether or not it is in the batch,
 * if it can ever fit. So it always comes to its end. */
static void make_room(struct engine *g, const char *reason) {
    struct seq *oldest = NULL;
    for (uint32_t i = 0; i < g->seqs.n_queue; i++) {
        struct seq *s = &g->seqs.seq[g->seqs.queue[i]];
        if (!s->client->held && (!oldest || s->born < oldest->born))
            oldest = s;
    }
    struct seq *victim = youngest(g, oldest);
    g->is_short = true;
    if (victim)
        pause_seq(g, victim);
    else
        end_seq(g, oldest, reason);
}

/* The oldest paused sequence that has work and a reader; NULL if there is none. */
static struct seq *next_paused(const struct engine *g) {
    struct seq *found = NULL;
    for (uint32_t slot = 0; slot < g->seqs.n_slots && g->seqs.n_paused > 0; slot++) {
        struct seq *s = &g->seqs.seq[slot];
        if (s->open && s->paused && has_work(s) && !s->client->held &&
            (!found || s->born < found->born))
            found = s;
    }
    return found;
}

/* Sequences for which there is room go on, the oldest first. Where nothing else runs or is about
 * to, the first goes on anyhow. */
static void resume(struct engine *g) {
    struct seq *s;
    while ((!g->is_short || !batch_any(&g->seqs)) && (s = next_paused(g)) &&
           (has_room(g, s) || (!batch_any(&g->seqs) && seconds_now() >= g->asked_until))) {
        seqs_set_paused(&g->seqs, s, false);
        model_seq_expect(g->model, s->slot, s->jobs->len);
        start(g, s);
    }
}

/* A paused sequence that has nothing to do but to end. */
static bool ends_paused(const struct seq *s) {
    const struct seq_job *next = s->jobs ? s->jobs->next : NULL;
    if (!s->paused || !s->jobs || !s->jobs->is_replay)
        return false;
    return next ? next->type == ENGINE_CLOSE : s->client->asking == ENGINE_ASKS_NEVER;
}

/* Carries out the jobs that run no rows, up to the first that does. */
static void advance(struct engine *g, struct seq *s) {
    if (ends_paused(s))
        end_seq(g, s, NULL);
    if (!s->open || s->paused)
        return;
    while (s->jobs && !s->copying && !s->runnable && !s->waits) {
        struct seq_job *j = s->jobs;
        if (j->type == ENGINE_CLOSE) {
            end_seq(g, s, NULL);
            return;
        }
        if (j->type == ENGINE_EXTEND && model_seq_len(g->model, s->slot) > j->pos + j->done)
            model_seq_truncate(g->model, s->slot, j->pos + j->done);
        if (j->type == ENGINE_EXTEND && j->n_ids > 0) {
            if (g->opts.pauses && j->is_prompt && j->done == 0 && !has_room(g, s)) {
                seqs_set_paused(&g->seqs, s, true);
                g->counters.paused++;
                return;
            }
            model_seq_expect(g->model, s->slot, j->len);
            start(g, s);
            return;
        }
        uint32_t to = j->type == ENGINE_FORK ? j->to : SEQ_NONE, pos = j->pos;
        seqs_pop_job(s);
        if (to != SEQ_NONE) {
            model_seq_fork(g->model, to, s->slot, pos);
            g->seqs.seq[to].copying = false;
            advance(g, &g->seqs.seq[to]);
        }
    }
    if (!s->jobs && !s->copying && s->client->asking == ENGINE_ASKS_NEVER)
        end_seq(g, s, NULL);
}

/* ---- What clients ask for ---- */

/* The sequence of that number, open or not, has failed. */
static void refuse(struct engine *g, struct engine_client *c, uint32_t number, const char *reason) {
    struct seq *s = seqs_find(&g->seqs, c, number);
    if (s)
        end_seq(g, s, reason);
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
    advance(g, s);
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
        advance(g, s);
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
        note_failure(g, c, c->forked(c->ctx, r->seq, r->from, r->pos, &c->err));
        number = r->from;
    }
    struct seq *s = seqs_find(&g->seqs, c, number);
    if (s)
        advance(g, s);
    return result_for(g, c, e);
}

int engine_close_idle(struct engine *g, struct engine_client *c, struct err *e) {
    for (uint32_t slot = 0; slot < g->seqs.n_slots && c->n_open > 0; slot++)
        if (g->seqs.seq[slot].open && g->seqs.seq[slot].client == c)
            advance(g, &g->seqs.seq[slot]);
    return result_for(g, c, e);
}

/* ---- A step ---- */

double engine_due(const struct engine *g) {
    if (!batch_any(&g->seqs))
        return next_paused(g) ? g->asked_until : (double)INFINITY;
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
    return n_long == 0 ? 0 : chunk_rows(&g->chunk, short_rows, waited_for, most_chunk(&g->opts));
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
        note_failure(g, c, c->appended(c->ctx, s->number, j->pos, j->ids, j->n_ids, &c->err));
    if (!c->failed && c->reused && s->reuse.tells != ENGINE_TELLS_NOTHING && ends_prompt(j, p))
        note_failure(g, c, c->reused(c->ctx, s->number, &s->reuse, &c->err));
    if (c->failed || p->n_want == 0)
        return;
    uint32_t pos = j->pos + j->done + p->n_rows - p->n_want;
    for (size_t i = 0; i < g->n_hidden; i++)
        g->of_part[i] = g->hidden + (i * g->batch.n_want + at) * g->hidden_dim;
    note_failure(g, c,
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
            note_failure(g, c, c->stepped(c->ctx, &c->err));
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
        advance(g, s);
    }
    for (uint32_t i = 0; cached && i < g->seqs.n_queue; i++)
        reuse(g, &g->seqs.seq[g->seqs.queue[i]]);
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
    resume(g);
    batch_build(b, &g->seqs, next_chunk(g));
    if (b->n_parts == 0)
        return;
    double start = seconds_now();
    float *hidden = wants_hidden(g) ? g->hidden : NULL;
    if (model_forward(g->model, b->rows, b->n_rows, g->logits, hidden, &bad) != 0) {
        if (g->opts.pauses) {
            make_room(g, bad.msg);
            drop_failed(g);
            return;
        }
        // No memory for the KV of all: the last of the batch ends.
        end_seq(g, &g->seqs.seq[b->parts[b->n_parts - 1].slot], bad.msg);
        drop_failed(g);
        return;
    }
    double seconds = seconds_now() - start;
    g->is_short = false;
    counters_add(&g->counters, b, seconds);
    chunk_note(&g->chunk, b->n_prompt_rows, b->n_rows - b->n_prompt_rows, seconds);
    tell_results(g);
    note_times(g, seconds);
    finish_parts(g);
    drop_failed(g);
}
