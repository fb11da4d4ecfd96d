/* Independent jobs on several threads, their results taken in order.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_ORDERED_H
#define BASE_ORDERED_H

#include <stddef.h>

#include "base/err.h"

struct ordered {
    void (*work)(void *arg, size_t i); // on any thread; started in order of i
    void (*take)(void *arg,
                 size_t i);  // on the calling thread, in order of i, once work(i) is done; or NULL
    void (*wait)(void *arg); // on the calling thread, about ten times a second; or NULL
    void *arg;
};

/* Runs jobs 0..n-1 on n_threads threads (no more than n; the calling thread only takes results) and
 * returns when the last is taken. -1 (EXIT_SYSTEM) where no thread can be started; some threads
 * fewer than asked for are no error. */
int ordered_run(const struct ordered *o, size_t n_threads, size_t n, struct err *e);

/* CPUs that are online: a default for n_threads. */
size_t cpus_online(void);

#endif
