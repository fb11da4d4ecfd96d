/* Copies one descriptor to another within a poll loop: for a resident engine's client, whose own
 * stdin or stdout the engine does not take.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_RELAY_H
#define STAGES_RELAY_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct relay {
    int from, to;   // -1: none, or at the end
    bool owns_from; // `from` is closed at the end, or else `to`
    char *bytes;
    size_t at, n; // bytes[at .. n) are to be written
    bool ended;
    struct err err; // why it ended early; code 0: it did not
    bool left;      // the reader of `to` has left
};

/* A relay that does nothing. */
void relay_none(struct relay *r);

/* Begins to copy fd to a new pipe (reads), or a new pipe to fd. Returns the other end of the pipe,
 * the caller's, which does not wait; -1 with e set. */
int relay_start(struct relay *r, int fd, bool reads, struct err *e);
void relay_free(struct relay *r);

/* What to poll, and what to do after poll. */
struct pollfd relay_poll(const struct relay *r);
void relay_step(struct relay *r, const struct pollfd *p);

#endif
