/* The cleaner: a child process that removes a socket, and the folder that was made for it, when the
 * process that listens is gone, or cannot do it because of its sandbox.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_CLEANER_H
#define WIRE_CLEANER_H

#include <sys/types.h>

#include "base/err.h"

struct cleaner {
    pid_t pid;    // -1: none
    int pipe_end; // -1: none
};

/* Forks: call it before any thread is started. The path exists, and the child removes what has its
 * place only if it is still the same file; the folder (NULL: none) is removed after it. The folder
 * and the path are read by the child only. */
int cleaner_start(struct cleaner *c, const char *folder, const char *path, struct err *e);
/* The child removes what is still there of both, ends, and is waited for. Does nothing a second
 * time. */
void cleaner_stop(struct cleaner *c);

#endif
