/* struct engine, and what engine*.c have of each other. Private to them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENGINE_ENGINE_PRIVATE_H
#define ENGINE_ENGINE_PRIVATE_H

#include "engine/batch.h"
#include "engine/chunk.h"
#include "engine/engine.h"
#include "engine/seqs.h"

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
    struct err lost;      // why the device is gone; code 0: it is not
    struct engine_counters counters;
};

/* ---- engine.c ---- */

/* Most rows of prompts in a step. */
size_t engine_most_chunk(const struct engine_options *o);

/* rc is what a function of c has returned. */
void engine_note_failure(struct engine *g, struct engine_client *c, int rc);
/* The end of each public call: sequences of clients that have failed in it are closed. */
void engine_drop_failed(struct engine *g);

/* Ends a sequence, with its event. reason: why it has failed, or NULL. */
void engine_end_seq(struct engine *g, struct seq *s, const char *reason);
/* Carries out the jobs that run no rows, up to the first that does. */
void engine_advance(struct engine *g, struct seq *s);

/* ---- engine_share.c ---- */

/* Takes from the prefix cache the pages of a prompt that reach past what has been computed. */
void engine_share(struct engine *g, struct seq *s);
/* A prompt or request that has ids to run becomes runnable, now or after what it waits for. */
void engine_start(struct engine *g, struct seq *s);
/* The sequence of that slot has ended: those that waited for it go on. */
void engine_wake(struct engine *g, uint32_t slot);

/* ---- engine_pause.c ---- */

/* Whether there is memory for what a sequence runs next. */
bool engine_has_room(const struct engine *g, const struct seq *s);
/* A batch did not fit, for this reason: pauses a sequence, or ends one that can never fit. */
void engine_make_room(struct engine *g, const char *reason);
/* The oldest paused sequence that has work and a reader; NULL if there is none. */
struct seq *engine_next_paused(const struct engine *g);
/* Paused sequences for which there is room go on. */
void engine_resume(struct engine *g);
/* Whether a paused sequence has nothing to do but to end. */
bool engine_ends_paused(const struct seq *s);

#endif
