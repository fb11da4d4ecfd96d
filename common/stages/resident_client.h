/* How a program uses a resident llm-forward: connects to its socket, passes descriptors and
 * options, and waits for the end.
 *
 *     fd = resident_connect(path, false, &e);
 *     resident_ask(fd, &ask, in, out, &e);      tokens(5) are read from in, logits(5) go to out
 *     resident_take(fd, peer, &e);              with ask.returns: one end of a connected socket
 *     poll fd for POLLIN, then resident_hear    until the answer is RESIDENT_ENDED
 *
 * The engine reads `in` and writes `out` itself, so both must be pipes or sockets of a stream. It
 * never waits for either. A pipe that was passed should be one that does not wait (O_NONBLOCK):
 * passing_open_again gives such a descriptor. Closing fd cancels everything within a step.
 *
 * Requests travel over the return path, as logits(5) says. The caller may listen at an address of
 * its own (return_listen, return_meet), which the stream's header then names. Or it leaves `path`
 * NULL, sets `returns`, and passes one end of a socketpair, on which wire/return.h's messages go
 * without a hello.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_RESIDENT_CLIENT_H
#define STAGES_RESIDENT_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/control.h"
#include "wire/logits.h"

/* What llm-forward's options say. All zero but batch: the engine's own model and context. */
struct resident_ask {
    const char *model;   // the folder that the engine must have; NULL: any
    const char *device;  // the name that it must have; NULL: any
    const char *verify;  // path of a list that its weights must have been compared with; NULL
    const char *layers;  // of hidden states; NULL: the last, where `hidden`
    const char *in_name; // for messages
    bool all_logits, hidden, precise;
    bool report;                      // notes at the end
    bool returns;                     // there will be a return path
    const struct logits_header *path; // its address and nonce; NULL: it has none
    uint32_t batch;                   // most sequences in flight, from 1
    uint32_t context;                 // most ids of a sequence; 0: the engine's
};

/* Connects. In the folder $LLM_RUN it waits up to two seconds for an engine. Refuses an engine of
 * another user than this one or root, unless `group`. Returns a descriptor, the caller's, which
 * closes on exec; -1 with e set: EXIT_NO_INPUT, there is no such socket; EXIT_SYSTEM, nobody
 * listens, or it is another user's. */
int resident_connect(const char *path, bool group, struct err *e);

/* Sends the request. The descriptors stay the caller's, which closes its copies so that ends of
 * files are seen. */
int resident_ask(int fd, const struct resident_ask *ask, int in_fd, int out_fd, struct err *e);

/* The return path is connected: peer stays the caller's, who closes it. -1: nobody will ask. */
int resident_take(int fd, int peer, struct err *e);

enum resident_event {
    RESIDENT_NOTHING, // no message has come
    RESIDENT_WARNED,  // text is a warning
    RESIDENT_NOTED,   // text is a line of the report
    RESIDENT_ENDED,   // code, and text: the last message, or ""
    RESIDENT_LEFT,    // the reader of out has left
};

struct resident_answer {
    enum resident_event event;
    int code; // enum exit_code
    char text[CONTROL_MAX_TEXT + 1];
};

/* Receives a message without waiting. -1: EXIT_IO, the engine has ended; EXIT_DATA, what came is no
 * message. */
int resident_hear(int fd, struct resident_answer *a, struct err *e);

#endif
