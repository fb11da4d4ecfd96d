/* The cleaner: a child process that removes a socket, and the folder that was made for it, when the
 * process that listens is gone, or cannot do it because of its sandbox.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_CLEANER_H
#define WIRE_CLEANER_H

#include <sys/types.h>

#include "base/err.h"

struct cleaner {
    pid_t pid; // -1: none
    int to;    // our end of the pair of sockets; -1: none
};

/* Forks: call it before any thread is started. -1 with e set (EXIT_SYSTEM): there may be a part to
 * stop, but no child. */
int cleaner_start(struct cleaner *c, struct err *e);

/* Tells the child what it is to remove, in place of what it was told before: the socket, and after
 * it the folder. Both are shorter than CLEANER_PATH bytes; "" is none. Of a socket in a folder of
 * its own it is told before either is made, so that a kill at any time leaves nothing. A socket
 * without such a folder exists already, and is removed only if it is still the same file then. */
int cleaner_watch(const struct cleaner *c, const char *folder, const char *socket, struct err *e);
enum { CLEANER_PATH = 256 };

/* The child removes what is still there of both, ends, and is waited for. Does nothing a second
 * time. */
void cleaner_stop(struct cleaner *c);

#endif
