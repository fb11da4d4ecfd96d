/* Starts another program with its stdin and stdout connected.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_SPAWN_H
#define BASE_SPAWN_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Runs argv[0], which is looked up in PATH, with stdin from `in` and stdout to `out`. `quiet`: its
 * messages are dropped. Other descriptors should be closed on exec. -1 with e set (EXIT_SYSTEM) if
 * there is no such program, with `why`, or it cannot be started. */
int spawn_program(const char *const *argv, int in, int out, bool quiet, const char *why,
                  pid_t *child, struct err *e);

/* Waits for its end: its exit status, or 128 and the number of the signal that ended it. */
int spawn_wait(pid_t child);

/* A pipe whose ends are closed on exec: bytes go from ends[1] to ends[0]. */
int spawn_pipe(int ends[2], struct err *e);

#endif
