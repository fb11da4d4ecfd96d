/* The body of llm-forward --engine: a thin client of a resident engine. It hands over its stdin and
 * stdout with its options, says what the engine says, and ends as a llm-forward of its own would.
 *
 * The engine takes pipes and sockets. For anything else (a file, a terminal, a device) this process
 * makes a pipe and copies, so that a slow disk makes nobody else wait.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_RESIDENT_RUN_H
#define STAGES_RESIDENT_RUN_H

#include <stdbool.h>

#include "base/err.h"
#include "stages/forward.h"
#include "stages/resident_client.h"

struct resident_run {
    const char *socket;      // the engine's
    bool group;              // the engine may be another user's
    struct resident_ask ask; // in_name included; not `returns` and `path`
    bool wants_return;       // listen for a sampler
    int in_fd, out_fd;
    int (*opened)(struct err *e); // called when all is open; NULL: nothing is to be done
};

/* 0: *code is the exit code. FORWARD_READER_LEFT: end by SIGPIPE. -1 with e set. SIGPIPE must be
 * ignored. Forks, so it must be called before any thread is started. */
int stage_resident(const struct resident_run *r, int *code, struct err *e);

#endif
