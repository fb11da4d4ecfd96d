/* Threads without signals: see thread.h. A new thread inherits the mask of the one that starts it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/thread.h"

#include <signal.h>
#include <stddef.h>

int thread_start(pthread_t *t, void *(*run)(void *), void *arg) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(t, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}
