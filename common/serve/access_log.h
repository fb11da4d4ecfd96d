/* A line of JSON for each request: when, what, who, how long, how many tokens. No text of a prompt
 * or an answer, unless it is asked for.
 *
 *     {"time": "2026-11-27T12:00:00.000Z", "method": "POST", "path": "/v1/completions",
 *      "status": 200, "seconds": 0.12, "key": "alice", "id": "cmpl-...", ...}
 *
 * A line is written with one write(2), so that several writers of a file do not mix.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_ACCESS_LOG_H
#define SERVE_ACCESS_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct access_log;

struct access_entry {
    const char *method, *path, *key, *id, *model, *finish; // NULL or "": not known
    unsigned status;
    double seconds;
    bool left; // the client did
    uint64_t prompt_tokens, completion_tokens;
    int64_t cached_tokens; // -1: not known
    struct str body;       // of the request; written only if that was asked for
};

/* Appends to a file, which is made with mode 0600; "-" is stdout. bodies: write what requests say.
 * NULL with e set (EXIT_IO). */
struct access_log *access_log_open(const char *path, bool bodies, struct err *e);
void access_log_close(struct access_log *l);

/* Threads may call it. The first failure is warned about; requests are answered all the same. */
void access_log_write(struct access_log *l, const struct access_entry *entry);

#endif
