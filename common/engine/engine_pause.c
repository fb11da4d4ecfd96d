/* Memory for sequence state is short: sequences are paused, and go on when there is room. See
 * engine.h and engine_private.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/progress.h"
#include "engine/engine_private.h"

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

bool engine_has_room(const struct engine *g, const struct seq *s) {
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
    engine_wake(g, s->slot);
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
void engine_make_room(struct engine *g, const char *reason) {
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
        engine_end_seq(g, oldest, reason);
}

/* The oldest paused sequence that has work and a reader; NULL if there is none. */
struct seq *engine_next_paused(const struct engine *g) {
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
void engine_resume(struct engine *g) {
    struct seq *s;
    while ((!g->is_short || !batch_any(&g->seqs)) && (s = engine_next_paused(g)) &&
           (engine_has_room(g, s) || (!batch_any(&g->seqs) && seconds_now() >= g->asked_until))) {
        seqs_set_paused(&g->seqs, s, false);
        model_seq_expect(g->model, s->slot, s->jobs->len);
        engine_start(g, s);
    }
}

/* A paused sequence that has nothing to do but to end. */
bool engine_ends_paused(const struct seq *s) {
    const struct seq_job *next = s->jobs ? s->jobs->next : NULL;
    if (!s->paused || !s->jobs || !s->jobs->is_replay)
        return false;
    return next ? next->type == ENGINE_CLOSE : s->client->asking == ENGINE_ASKS_NEVER;
}
