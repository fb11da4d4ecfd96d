/* The body of llm-forward --listen: one engine for the pipelines of many clients, which pass their
 * stdin and stdout (resident_client.h).
 *
 * One loop on one thread polls everything, as forward.c does for one pipe. It waits for no client:
 * what a client does not read is queued, and the client's sequences run nothing until the queue is
 * written. So a client costs at most the memory of one step's rows, and no time of others. One that
 * reads nothing for stall_seconds is dropped.
 *
 * A client ends when its input is done, when its stream or a message is bad, when its reader or its
 * sampler leaves, or when its process does. Its sequences are forgotten before the next step. The
 * others do not notice.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_LISTEN_H
#define STAGES_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/engine.h"
#include "model/model.h"
#include "stages/listen_socket.h"
#include "wire/control.h"
#include "wire/logits.h"

enum {
    LISTEN_MAX_CLIENTS = 256,
    LISTEN_SLOTS = 4096, // sequences of all clients
};

/* What the engine can offer; all that it points to outlives the run. */
struct listen_job {
    struct engine_options engine; // hidden = false: it follows what clients want
    struct model *model;          // opened with engine_slots and engine_rows
    const char *folder;           // the model's, for messages
    uint64_t folder_dev, folder_ino;
    const char *device; // its name
    bool precise;
    bool verified; // with the list of this hash
    uint8_t list[CONTROL_LIST_HASH];
    const struct logits_header *header; // complete but for hidden_dim, address and nonce
    struct listen_socket *socket;
    bool group;                   // clients may be other users
    double idle_seconds;          // without a client, until the end; 0: never
    double stall_seconds;         // after which a client that reads nothing is dropped; 0: never
    bool report;                  // says of each client when it comes and goes
    double started;               // seconds_now() at the start of the program
    int (*opened)(struct err *e); // called when all is open; NULL: nothing is to be done
};

/* Runs until it has been idle for long enough, or a signal came: the first SIGTERM or SIGINT
 * refuses new clients and ends when those that run are done; the second ends at once, then *code is
 * EXIT_SYSTEM. SIGPIPE must be ignored. -1 with e set: the system refused. */
int stage_listen(const struct listen_job *job, int *code, struct err *e);

#endif
