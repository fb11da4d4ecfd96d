/* Threads beside the one that reads and writes the streams.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* pthread_create for a thread that no signal reaches: they are for the thread that has the streams. 0, or an errno. */
int thread_start(pthread_t *t, void *(*run)(void *), void *arg);

#endif
