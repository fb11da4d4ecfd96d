/* kernels/pool: every item once, for any number of threads and any cut; many short jobs; sleeping
 * and waking.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // sched_setaffinity
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "kernels/cores.h"
#include "kernels/pool.h"

struct counts {
    atomic_uint seen[1000];
    atomic_uint bad_cut, bad_thread;
    size_t n, grain, n_threads;
};

static void count(void *arg, size_t begin, size_t end, size_t thread) {
    struct counts *c = arg;
    for (size_t i = begin; i < end; i++)
        atomic_fetch_add(&c->seen[i], 1);
    c->bad_thread += thread >= c->n_threads;
    c->bad_cut +=
        begin % c->grain != 0 || end != (begin + c->grain < c->n ? begin + c->grain : c->n);
}

static void every_item_once(void) {
    struct counts *c = xcalloc(1, sizeof *c);
    for (size_t threads = 1; threads <= 5; threads++) {
        struct err e = {0};
        struct pool *p = pool_new(threads, &e);
        CHECK(p && pool_threads(p) == threads);
        for (size_t n = 0; n <= 1000; n += 1 + n / 2)
            for (size_t grain = 1; grain <= 300; grain = grain * 3 + 1) {
                memset(c, 0, sizeof *c);
                c->n = n, c->grain = grain, c->n_threads = threads;
                pool_run(p, count, c, n, grain);
                for (size_t i = 0; i < 1000; i++)
                    if (c->seen[i] != (i < n))
                        CHECK_MSG(0, "item %zu of %zu was seen %u times", i, n, c->seen[i]);
                CHECK(c->bad_cut == 0 && c->bad_thread == 0);
            }
        pool_free(p);
    }
    free(c);
}

static void add(void *arg, size_t begin, size_t end, size_t thread) {
    (void)thread;
    atomic_fetch_add((atomic_size_t *)arg, end - begin);
}

static void nap(long ns) {
    nanosleep(&(struct timespec){0, ns}, NULL);
}

/* Jobs back to back, after naps in which the workers go to sleep, and about when they do (50 us).
 */
static void many_jobs(void) {
    struct pool *p = pool_new(3, NULL);
    atomic_size_t sum = 0;
    for (size_t i = 0; i < 20000; i++)
        pool_run(p, add, &sum, 8, 1);
    for (size_t i = 0; i < 200; i++) {
        nap(1000000);
        pool_run(p, add, &sum, 8, 1);
    }
    for (long i = 0; i < 2000; i++) {
        nap(i * 50);
        pool_run(p, add, &sum, 8, 1);
    }
    CHECK_INT(sum, 8 * 22200);
    pool_free(p);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* CPU time is compared, not the clock's, so a busy machine does not disturb it. A worker that did
 * not sleep would take all of the 50 ms, or at least its share. */
static void idle_burns_nothing(void) {
    struct pool *p = pool_new(4, NULL);
    atomic_size_t sum = 0;
    pool_run(p, add, &sum, 100, 1);
    nap(5000000);
    double before = cpu_seconds();
    nap(50000000);
    double used = cpu_seconds() - before;
    CHECK_MSG(used < 0.002, "4 idle threads used %g s of CPU in 0.05 s", used);
    pool_free(p);
}

static void scratch_is_each_threads_own(void) {
    struct pool *p = pool_new(3, NULL);
    for (size_t t = 0; t < 3; t++)
        memset(pool_scratch(p, t), (int)t, POOL_SCRATCH);
    for (size_t t = 0; t < 3; t++) {
        const unsigned char *s = pool_scratch(p, t);
        CHECK((uintptr_t)s % 4096 == 0 && s[0] == t && s[POOL_SCRATCH - 1] == t);
    }
    pool_free(p);
}

#if defined(__linux__)
static bool may_use_many(cpu_set_t *may) {
    return sched_getaffinity(0, sizeof *may, may) == 0 && CPU_COUNT(may) > 1;
}

static void leaving_a_cpu_binds_to_nothing(void) {
    cpu_set_t may, now, one;
    if (!may_use_many(&may))
        return;
    int left = 0;
    for (int i = 0; i < 20; i++) {
        int cpu = current_cpu();
        CHECK(cpu >= 0 && CPU_ISSET((size_t)cpu, &may));
        leave_cpu(2);
        left += current_cpu() != cpu;
        CHECK(sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &may));
    }
    CHECK_MSG(left >= 10, "left %d times of 20", left); // the system may bring it back at once
    leave_cpu((size_t)CPU_COUNT(&may) + 1);
    CPU_ZERO(&one);
    CPU_SET((size_t)current_cpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    leave_cpu(1);
    leave_cpu(2);
    CHECK(sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &one));
    CHECK(sched_setaffinity(0, sizeof may, &may) == 0);
}

/* All threads on one CPU, then free again: a worker that is there with the caller goes elsewhere.
 */
static void threads_that_share_a_cpu_still_do_all(void) {
    cpu_set_t may, one;
    if (!may_use_many(&may))
        return;
    CPU_ZERO(&one);
    CPU_SET((size_t)current_cpu(), &one);
    sched_setaffinity(0, sizeof one, &one);
    struct pool *p = pool_new(2, NULL);
    atomic_size_t sum = 0;
    for (size_t i = 0; i < 3000; i++)
        pool_run(p, add, &sum, 8, 1);
    sched_setaffinity(0, sizeof may, &may);
    for (size_t i = 0; i < 3000; i++)
        pool_run(p, add, &sum, 8, 1);
    CHECK_INT(sum, 8 * 6000);
    pool_free(p);
}
/* What another process may set (taskset) while the pool is idle stays, whatever jobs come then. */
static void masks_that_others_set_stay(void) {
    cpu_set_t may, one, now;
    if (!may_use_many(&may))
        return;
    struct pool *p = pool_new(3, NULL);
    atomic_size_t sum = 0;
    CPU_ZERO(&one);
    CPU_SET((size_t)current_cpu(), &one);
    nap(5000000);
    DIR *d = opendir("/proc/self/task");
    int workers[2], n = 0;
    for (struct dirent *f; d && (f = readdir(d));) {
        int thread = atoi(f->d_name);
        if (thread > 0 && thread != getpid() && n < 2)
            workers[n++] = thread;
    }
    if (d)
        closedir(d);
    for (int i = 0; i < n; i++)
        CHECK(sched_setaffinity(workers[i], sizeof one, &one) == 0);
    for (size_t i = 0; i < 3000; i++) {
        if (i % 100 == 0)
            nap(100000);
        pool_run(p, add, &sum, 8, 1);
    }
    for (int i = 0; i < n; i++)
        CHECK(sched_getaffinity(workers[i], sizeof now, &now) == 0 && CPU_EQUAL(&now, &one));
    CHECK_INT(n, 2);
    CHECK_INT(sum, 8 * 3000);
    pool_free(p); // no worker lends this thread a CPU any more
    CHECK(sched_getaffinity(0, sizeof now, &now) == 0 && CPU_EQUAL(&now, &may));
}

/* Three threads on one CPU lend it to a fourth, which sleeps, again and again. Without a lock, one
 * of them sooner or later takes another's temporary mask for the thread's own. */
static struct {
    atomic_int thread;
    atomic_bool end, end_sleeper;
    cpu_set_t one;
} lending;
static void *sleeper(void *arg) {
    atomic_store(&lending.thread, thread_number());
    while (!atomic_load(&lending.end_sleeper))
        nap(1000000);
    return arg;
}
static void *lender(void *arg) {
    sched_setaffinity(0, sizeof lending.one, &lending.one);
    while (!atomic_load(&lending.end))
        lend_cpu(atomic_load(&lending.thread));
    return arg;
}
static void lenders_bind_no_thread(void) {
    cpu_set_t may, now;
    pthread_t threads[4];
    if (!may_use_many(&may))
        return;
    CPU_ZERO(&lending.one);
    CPU_SET((size_t)current_cpu(), &lending.one);
    pthread_create(&threads[0], NULL, sleeper, NULL);
    while (atomic_load(&lending.thread) == 0)
        nap(100000);
    for (int i = 1; i < 4; i++)
        pthread_create(&threads[i], NULL, lender, NULL);
    for (int i = 0; i < 100; i++)
        nap(10000000);
    atomic_store(&lending.end, true);
    for (int i = 1; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK(sched_getaffinity(atomic_load(&lending.thread), sizeof now, &now) == 0 &&
          CPU_EQUAL(&now, &may));
    atomic_store(&lending.end_sleeper, true);
    pthread_join(threads[0], NULL);
}
#else
static void lenders_bind_no_thread(void) {
}
static void masks_that_others_set_stay(void) {
}
static void leaving_a_cpu_binds_to_nothing(void) {
    CHECK_INT(current_cpu(), -1);
    leave_cpu(1);
}
static void threads_that_share_a_cpu_still_do_all(void) {
}
#endif

static void limits(void) {
    struct err e = {0};
    CHECK(physical_cores() >= 1);
    struct pool *p = pool_new(0, &e);
    CHECK_INT(pool_threads(p), physical_cores());
    pool_free(p);
    CHECK(!pool_new(100000, &e) && e.code == EXIT_USAGE && strstr(e.msg, "100000"));
    pool_free(NULL);
}

int main(void) {
    RUN(every_item_once);
    RUN(many_jobs);
    RUN(idle_burns_nothing);
    RUN(scratch_is_each_threads_own);
    RUN(leaving_a_cpu_binds_to_nothing);
    RUN(threads_that_share_a_cpu_still_do_all);
    RUN(masks_that_others_set_stay);
    RUN(lenders_bind_no_thread);
    RUN(limits);
    return check_done();
}
