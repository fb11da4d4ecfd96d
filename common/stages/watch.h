/* How a stage of a pipe ends when the reader of its output has had enough (head, a closed pager).
 *
 * A stage that writes then ends by SIGPIPE. A stage that waits for input would not notice, and the
 * stages before it would go on for nothing. So a stage also watches stdout while it waits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_WATCH_H
#define STAGES_WATCH_H

#include "base/err.h"

/* From now on, each read_some that has nothing to read ends the program by SIGPIPE as soon as the
 * reader of stdout has left. For a program that is one stage; a server must not call it. Call it
 * before any thread is started. */
void stage_watch_stdout(void);

/* Ends the program by SIGPIPE, also where the signal was ignored. */
NORETURN void stage_end_by_sigpipe(void);

#endif
