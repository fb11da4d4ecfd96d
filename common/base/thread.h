/* Threads beside the one that reads and writes the streams.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* pthread_create for a thread that no signal reaches: they are for the thread that has the streams.
 * 0, or an errno. */
int thread_start(pthread_t *t, void *(*run)(void *), void *arg);

/* The same for a thread that has work at once and for some milliseconds, while the caller works
 * too: it begins on another CPU, if the process may use one. It may go anywhere later. */
int thread_start_apart(pthread_t *t, void *(*run)(void *), void *arg);

#endif
