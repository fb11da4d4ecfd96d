/* Threads without signals: see thread.h. A new thread inherits the mask of the one that starts it.
 *
 * In a young process, Linux often starts a new thread on its creator's CPU, and moves it to an idle
 * one some ticks later. Two jobs of a few ticks would then run one after the other.
 * thread_start_apart avoids that.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // sched_getcpu, pthread_attr_setaffinity_np
#endif
#include "base/thread.h"

#include <sched.h>
#include <signal.h>
#include <stddef.h>

static int start(pthread_t *t, const pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    sigset_t all, old;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); // raised by the thread's own read of a mapped file: see mapped.h
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(t, attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}

int thread_start(pthread_t *t, void *(*run)(void *), void *arg) {
    return start(t, NULL, run, arg);
}

#if defined(__GLIBC__)
int thread_start_apart(pthread_t *t, void *(*run)(void *), void *arg) {
    cpu_set_t all, others;
    pthread_attr_t attr;
    int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof all, &all) != 0 ||
        pthread_attr_init(&attr) != 0)
        return thread_start(t, run, arg);
    others = all;
    CPU_CLR((size_t)cpu, &others);
    int failed = -1;
    if (CPU_COUNT(&others) > 0 && pthread_attr_setaffinity_np(&attr, sizeof others, &others) == 0)
        failed = start(t, &attr, run, arg);
    pthread_attr_destroy(&attr);
    if (failed)
        return thread_start(t, run, arg);
    pthread_setaffinity_np(*t, sizeof all, &all);
    return 0;
}
#else
int thread_start_apart(pthread_t *t, void *(*run)(void *), void *arg) {
    return thread_start(t, run, arg);
}
#endif
