/* The engine: sequences of several clients, run together on one model, a batch at a time.
 *
 * A client opens sequences with their prompts and then asks to extend, fork or close them. Each
 * sequence has a queue of jobs, which are carried out in the order of the requests. Each step runs
 * one batch: rows of all sequences that have ids to run. Results go to the client's functions.
 *
 * The engine knows no descriptor and no stream. It belongs to one thread and never waits: the
 * caller asks engine_due when to call engine_step, and does its own waiting until then.
 *
 * With engine_options' pauses, the state of all sequences need not fit into memory. A prompt waits
 * until there is room for it. When running sequences outgrow the memory, the youngest is paused:
 * its state is dropped, and computed again later. Nothing shows in the results.
 *
 * A client's functions must not call the engine. A function that returns -1 ends its own client:
 * the engine forgets the client's sequences, calls none of its functions again, and goes on with
 * the others.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/counters.h"
#include "model/model.h"

enum {
    ENGINE_MAX_IN_FLIGHT = 4096,
    ENGINE_MAX_CHUNK = 4096,
    ENGINE_FORKS = 256, // slots beyond max_in_flight, for forks
};

struct engine_options {
    size_t max_in_flight; // sequences that can decode together; a client opens no more prompts
    size_t chunk;         // rows of prompts in a step; 0: chosen from measured times (chunk.h)
    size_t auto_chunk;    // most rows that are then chosen; 0: CPU_PROMPT_ROWS
    size_t slots;         // sequences that can be open; 0: max_in_flight and ENGINE_FORKS
    bool hidden;          // hidden states of model_hidden's layers beside the logits
    bool pauses;          // where memory for sequence state is short, sequences wait for it
};

/* model_options.max_sequences and .max_rows for these options. */
size_t engine_slots(const struct engine_options *o);
size_t engine_rows(const struct engine_options *o);

enum engine_asking {
    ENGINE_ASKS_NEVER, // sends no requests: a sequence is closed when its jobs are done
    ENGINE_MAY_ASK,    // may send requests: sequences stay open, but no step waits for them
    ENGINE_ASKS,       // answers logits with requests: a step waits shortly for them
};

enum engine_tells {
    ENGINE_TELLS_NOTHING,
    ENGINE_TELLS_COUNT, // how many positions were cached
    ENGINE_TELLS_WHY,   // and where what was cached ended
};

/* How much of a prompt need not be computed. */
struct engine_reuse {
    enum engine_tells tells; // what its prompt asked for: the rest is known only with _WHY
    uint32_t cached;         // positions that came from the prefix cache
    uint32_t match;          // the first ids that are the same in the cache, in whole pages or not
    bool has_ours;           // the prompt goes on there, with `ours`
    bool has_theirs;         // the cache goes on there, with `theirs`
    uint32_t ours, theirs;
};

/* One pipe or one connection. The caller owns it, fills the first part and zeroes the rest. It must
 * stay where it is until engine_leave. `asking` and `held` may change at any time, also in a
 * function. */
struct engine_client {
    void *ctx;           // for the functions
    uint32_t first_fork; // least number of a fork
    uint32_t context;    // most ids of a sequence; 0: the model's
    uint32_t max_open;   // most sequences; 0: as many as the engine has slots
    enum engine_asking asking;
    bool no_hidden; // is given no hidden states, even if others are
    bool held;      // runs no rows until this is false again: nobody reads its results

    /* seq, which was not open, is a copy of the first pos ids of sequence from. */
    int (*forked)(void *ctx, uint32_t seq, uint32_t from, uint32_t pos, struct err *e);
    /* A request appended ids [n] at pos of seq; comes before the first of their rows. */
    int (*appended)(void *ctx, uint32_t seq, uint32_t pos, const uint32_t *ids, uint32_t n,
                    struct err *e);
    /* logits [n, vocab_size] of positions pos .. pos + n - 1, and hidden, one [n, hidden_dim] for
     * each layer of model_hidden; NULL: none. */
    int (*rows)(void *ctx, uint32_t seq, uint32_t pos, uint32_t n, const float *logits,
                const float *const *hidden, struct err *e);
    /* The prompt of seq, which asked for it, is about to give its last rows. May be NULL. */
    int (*reused)(void *ctx, uint32_t seq, const struct engine_reuse *r, struct err *e);
    /* All rows of a step have been given out. Pointers that appended and rows were given are valid
     * until it returns. */
    int (*stepped)(void *ctx, struct err *e);
    /* Nothing more comes for seq. reason: why it failed, or NULL where it was closed. A request or
     * prompt that is refused also ends here, whether or not seq was open. */
    int (*ended)(void *ctx, uint32_t seq, const char *reason, struct err *e);

    // The engine's; the caller may read them.
    uint32_t n_open; // sequences
    bool failed;     // one of its functions returned -1, and err says why
    struct err err;
    // The engine's alone.
    bool in_step;
    uint32_t turn, dealt; // while a batch is built
};

enum engine_request_type {
    ENGINE_EXTEND = 1, // drop ids of seq past pos, append ids, give logits of the last `want`
    ENGINE_FORK,       // seq becomes a copy of from, up to pos ids of it; seq must not be open
    ENGINE_CLOSE,      // seq is done
};

struct engine_request {
    enum engine_request_type type;
    uint32_t seq, pos, want, from;
    const uint32_t *ids; // [n_ids], copied
    uint32_t n_ids;
};

struct engine;

/* The model is the caller's, opened with engine_slots and engine_rows; it must outlive the engine.
 * engine_free tells the clients nothing. */
struct engine *engine_new(const struct engine_options *o, struct model *m);
void engine_free(struct engine *g);

/* From now on there are hidden states of these layers (hidden.h), which the model has; n = 0: none.
 */
void engine_set_hidden(struct engine *g, const struct hidden_layers *layers);

/* Sequences that can still be opened. */
size_t engine_free_slots(const struct engine *g);

struct engine_prompt {
    uint32_t seq;        // not open
    const uint32_t *ids; // [n_ids], copied
    uint32_t n_ids;
    uint32_t want;           // logits of the last `want` ids; engine_score does not read it
    struct prefix_salt salt; // of the prefix cache
    enum engine_tells tells; // what the event `reused` says of it
};

/* Opens a sequence with a prompt. What cannot be run is refused through `ended`. -1 with e set: the
 * client has failed. */
int engine_open(struct engine *g, struct engine_client *c, const struct engine_prompt *p,
                struct err *e);

/* Opens a sequence with a prompt, to score the ids from `from` on: gives the logits of positions
 * from - 1 .. n_ids - 2, whose next ids they score, and closes the sequence. Runs positions that it
 * has in common with other such sequences once, as far as the prefix cache has room. A `from` that
 * is not 1 .. n_ids is refused through `ended`. -1 with e set: the client has failed. */
int engine_score(struct engine *g, struct engine_client *c, const struct engine_prompt *p,
                 uint32_t from, struct err *e);

/* Checks a request and queues it. A bad one fails its sequence, through `ended`; a close of what is
 * not open does nothing. -1 with e set: the client has failed. */
int engine_request(struct engine *g, struct engine_client *c, const struct engine_request *r,
                   struct err *e);

/* Closes the sequences of c that have no jobs: called once `asking` has become ENGINE_ASKS_NEVER.
 * -1 with e set: the client has failed. */
int engine_close_idle(struct engine *g, struct engine_client *c, struct err *e);

/* Forgets c and its sequences, without an event. */
void engine_leave(struct engine *g, struct engine_client *c);

/* Why the device is gone, as after an error of a GPU: nothing runs any more, and sequences stay as
 * they were. NULL: it is not gone. */
const struct err *engine_lost(const struct engine *g);

/* When engine_step is to be called, in seconds_now's time; 0: now; INFINITY: nothing can run. */
double engine_due(const struct engine *g);

/* Runs one batch and gives its results to the clients. Call it when engine_due has come. A client
 * that fails in it says so in client.failed. */
void engine_step(struct engine *g);

const struct engine_counters *engine_counters(const struct engine *g);

#endif
