/* Prompts that others have computed in part: see engine_private.h.
 *
 * Sequences to be scored are short continuations of what others have too. So one of them waits
 * where another of its client that is running will soon have cached more of its ids. A sequence
 * that runs waits for none, so no two wait for each other.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "engine/engine_private.h"

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
void engine_share(struct engine *g, struct seq *s) {
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
void engine_start(struct engine *g, struct seq *s) {
    engine_share(g, s);
    seqs_set_waits(&g->seqs, s, s->jobs->is_scored && has_reason_to_wait(g, s));
    seqs_set_runnable(&g->seqs, s, !s->waits);
}

/* The sequence of that slot has ended. A sequence that waited and gained nothing, as where the
 * cache has no room, does not wait again. */
void engine_wake(struct engine *g, uint32_t slot) {
    for (uint32_t i = 0; i < g->seqs.n_slots && g->seqs.n_waiting > 0; i++) {
        struct seq *s = &g->seqs.seq[i];
        if (!s->open || !s->waits || s->waits_for != slot)
            continue;
        uint32_t before = s->jobs->done;
        engine_start(g, s);
        if (s->waits && s->jobs->done == before) {
            seqs_set_waits(&g->seqs, s, false);
            seqs_set_runnable(&g->seqs, s, true);
        }
    }
}
