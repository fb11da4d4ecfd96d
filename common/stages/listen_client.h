/* A client of a resident engine: its connection, its descriptors, and what it has asked for.
 * Private to listen*.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_LISTEN_CLIENT_H
#define STAGES_LISTEN_CLIENT_H

#include <poll.h>

#include "stages/forward_client.h"
#include "stages/listen.h"
#include "wire/passing.h"

enum listen_state {
    LISTEN_NEW,      // has asked for nothing yet
    LISTEN_RUNS,     // its streams are open
    LISTEN_FINISHES, // all is done, but for what its reader has not taken
    LISTEN_ENDS,     // its streams are closed; messages are to be sent
    LISTEN_GONE,     // to be freed
};

enum { LISTEN_CONTROL = FORWARD_FDS, LISTEN_FDS_EACH };

struct listen_client {
    const struct listen_job *job;
    struct engine *engine;
    enum listen_state state;
    uint32_t number; // for messages
    int control;
    uint64_t n_read;       // bytes that its reader had taken when it was last seen to take some
    double read_at;        // seconds_now() then; only while it has not taken all
    double until;          // LISTEN_NEW, LISTEN_ENDS: when it is dropped
    struct passed in, out; // -1: none
    char *in_name;
    struct logits_header header;
    struct forward_client forward;
    bool report;
    double started;
    int code;         // LISTEN_FINISHES: the exit code
    struct buf queue; // messages that could not be sent: 4 bytes of length, then the message
    size_t n_lost;    // messages for which the queue had no room
};

/* A new connection, of which c is the owner. */
struct listen_client *listen_client_new(const struct listen_job *job, struct engine *engine,
                                        int control, uint32_t number);
/* Forgets all. */
void listen_client_free(struct listen_client *c);

/* fds [LISTEN_FDS_EACH], for poll; takes: the engine has slots for prompts. */
void listen_client_fds(const struct listen_client *c, struct pollfd *fds, bool takes);
int listen_client_timeout_ms(struct listen_client *c);

/* After poll, which has returned n: does all that needs no prompt to be taken. */
void listen_client_serve(struct listen_client *c, const struct pollfd *fds, int n);

/* Whether a prompt, or a part of one, has come that may be taken now if the engine has a slot. */
bool listen_client_has_prompt(const struct listen_client *c);
/* Takes a prompt. False: there is none, or it cannot be taken now. */
bool listen_client_take_prompt(struct listen_client *c);

/* After prompts were taken, and after a step: notices what has ended. */
void listen_client_check(struct listen_client *c);

/* Ends its streams and tells it why. text: its last message, or "". */
void listen_client_end(struct listen_client *c, int code, bool left, const char *text);

#endif
