/* One client of the engine that has streams: prompts of tokens(5) and requests of a return path go
 * to the engine, and its events become frames of logits(5).
 *
 * llm-forward in a pipe has one (forward.c); the resident engine has many (listen.c). The owner
 * polls the descriptors, calls the engine's steps, and decides when the client may take prompts.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_FORWARD_CLIENT_H
#define STAGES_FORWARD_CLIENT_H

#include <poll.h>
#include <stdbool.h>

#include "base/err.h"
#include "engine/engine.h"
#include "model/model.h"
#include "stages/input.h"
#include "stages/output.h"
#include "wire/logits.h"
#include "wire/return.h"

enum { FORWARD_LAYER_TEXT = 16 };
enum forward_fd { FORWARD_IN, FORWARD_OUT, FORWARD_RETURN, FORWARD_FDS };

/* The owner fills the first part; all that it points to is the owner's and outlives the client. It
 * must stay where it is until forward_client_end. */
struct forward_client {
    struct engine *engine;
    const struct model *model;
    struct logits_header *header; // complete, but for what the input's header line may add
    struct return_server *ret;    // or NULL
    struct input *input;
    struct output *out;
    size_t max_in_flight;        // prompts that are open
    bool all_logits;             // of every position of a prompt
    bool names_layers;           // frames of hidden states say their layer
    bool others;                 // clients of other users share the cache: see open_prompt
    struct hidden_layers hidden; // those that this client wants; n = 0: none
    void (*warn)(void *ctx, const char *text);
    void *warn_ctx;

    // The client's; the owner may read them.
    struct engine_client of_engine;
    bool begun; // the stream's header is written
    size_t n_sequences, n_failed;
    // The client's alone.
    char (*layers)[FORWARD_LAYER_TEXT]; // [hidden.n]: "layer=N", or ""
    bool noticed, declined;
    size_t n_ended_badly; // sequences that failed after they were opened
};

/* Once the first part is filled. */
void forward_client_begin(struct forward_client *c);
/* The engine forgets the client. Says how many messages were left out. */
void forward_client_end(struct forward_client *c);

/* fds [FORWARD_FDS], for poll; -1 where nothing is to be waited for. takes: prompts may be taken.
 */
void forward_client_fds(const struct forward_client *c, struct pollfd *fds, bool takes);
/* After poll, which has returned n: reads what has come, without waiting. -1: the client ends, and
 * output_left says whether its reader has left. */
int forward_client_heard(struct forward_client *c, const struct pollfd *fds, int n, struct err *e);

/* Requests that have come go to the engine. -1: the client ends. */
int forward_client_take_requests(struct forward_client *c, struct err *e);
/* Whether input has come that forward_client_take_prompts would look at now. */
bool forward_client_has_prompt(const struct forward_client *c);
/* Prompts that have come go to the engine, at most `most`. Returns how many; -1: the client ends.
 */
int forward_client_take_prompts(struct forward_client *c, size_t most, struct err *e);

/* Whether nothing more can come: the input has ended and all sequences are closed. */
bool forward_client_finished(const struct forward_client *c);
/* Once it has finished: writes the last frame. *code is EXIT_DONE, EXIT_SOME_FAILED where a
 * sequence failed, or why the input ended early. */
int forward_client_finish(struct forward_client *c, int *code, struct err *e);

/* The peer of the return path has left before all was done: as if the output's reader had. */
bool forward_client_peer_left(const struct forward_client *c);

/* Milliseconds until something is due that poll does not report; -1: nothing. Warns once where no
 * sampler has connected for some seconds. */
int forward_client_timeout_ms(struct forward_client *c);

#endif
