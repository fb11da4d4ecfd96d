/* Starts threads other than the one that reads and writes the streams.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>

/* The first thread notes its limits of stack and addresses: a sandbox may not let it ask later.
 * program_init calls it. */
void thread_init(void);

/* pthread_create with all signals blocked: they are for the thread that has the streams. The stack
 * has THREAD_STACK bytes, whatever `ulimit -s` says. Returns 0 or an errno. */
int thread_start(pthread_t *t, void *(*run)(void *), void *arg);

/* The same for a job of some milliseconds that runs beside the caller's own work. The thread starts
 * on another CPU, if the process may use one, and may move later. */
int thread_start_apart(pthread_t *t, void *(*run)(void *), void *arg);

/* Whether little of the calling thread's stack is left: a function that calls itself as deeply as
 * its input is nested asks, and refuses the input. The first thread's stack is as large as `ulimit
 * -s` says. */
bool thread_stack_is_low(void);

#endif
