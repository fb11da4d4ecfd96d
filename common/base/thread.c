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

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

/* Bytes. A sanitizer's frames are several times as large. LOW: what is left for functions that do
 * not ask. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SANITIZED)
enum { THREAD_STACK = 8 << 20, LOW = 256 << 10 };
#else
enum { THREAD_STACK = 1 << 20, LOW = 32 << 10 };
#endif

static _Thread_local uintptr_t stack_end; // the lowest address that may be used; 0: not known yet
static bool prepared;                     // the first thread has called thread_init

static uintptr_t here(void) {
    return (uintptr_t)__builtin_frame_address(0);
}

/* Three quarters of a stack. The C library uses a part, and the system puts the environment, of up
 * to a quarter, on the first thread's stack. */
static uintptr_t end_of_stack(uintptr_t bytes) {
    uintptr_t at = here(), room = bytes / 4 * 3;
    return room < at ? at - room : 1;
}

void thread_init(void) {
    struct rlimit limit;
    bool known = getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    stack_end = known ? end_of_stack((uintptr_t)limit.rlim_cur) : 1;
    prepared = true;
#if defined(__GLIBC__)
    // glibc reserves 64 MiB of addresses for each thread that takes memory, which a limit counts.
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        mallopt(M_ARENA_MAX, 1);
#endif
}

bool thread_stack_is_low(void) {
    if (!prepared)
        thread_init();
    if (stack_end == 0) // a thread that thread_start has started
        stack_end = end_of_stack(THREAD_STACK);
    return here() < stack_end || here() - stack_end < LOW;
}

static int start(pthread_t *t, pthread_attr_t *attr, void *(*run)(void *), void *arg) {
    sigset_t all, old;
    if (!prepared)
        thread_init();
    int failed = pthread_attr_setstacksize(attr, THREAD_STACK);
    if (failed)
        return failed;
    sigfillset(&all);
    sigdelset(&all, SIGBUS); // raised by the thread's own read of a mapped file: see mapped.h
    pthread_sigmask(SIG_SETMASK, &all, &old);
    failed = pthread_create(t, attr, run, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}

int thread_start(pthread_t *t, void *(*run)(void *), void *arg) {
    pthread_attr_t attr;
    int failed = pthread_attr_init(&attr);
    if (failed == 0) {
        failed = start(t, &attr, run, arg);
        pthread_attr_destroy(&attr);
    }
    return failed;
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
