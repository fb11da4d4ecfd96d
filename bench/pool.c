/* pool: times a fork-join of the thread pool.
 *
 *     pool [THREADS]      prints fork_join=MICROSECONDS threads=N
 *
 * The figure is the median of many calls of pool_run in a row, as forward makes them. There is a
 * piece for every thread, and each piece waits until all have begun. Otherwise the caller would do
 * all pieces itself.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdatomic.h>
#include <stdio.h>

#include "base/err.h"
#include "base/io.h"
#include "base/num.h"
#include "kernels/pool.h"
#include "lib/limits.h"

enum { CALLS = 64, SAMPLES = 501 };

struct meeting {
    atomic_size_t arrived;
    size_t expected;
};

static void meet(void *arg, size_t begin, size_t end, size_t thread) {
    struct meeting *m = arg;
    (void)begin, (void)end, (void)thread;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->expected)
        ;
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    if (argc > 2)
        die_usage("usage: pool [THREADS]");
    struct err e = {0};
    struct pool *p = pool_new(argc > 1 ? (size_t)opt_u64("THREADS", argv[1], 1, 1024) : 0, &e);
    if (!p)
        die_err(&e);
    static double us[SAMPLES];
    struct meeting m = {0};
    for (size_t i = 0; i < SAMPLES; i++) {
        double start = seconds();
        for (size_t k = 0; k < CALLS; k++)
            m.expected += pool_threads(p), pool_run(p, meet, &m, pool_threads(p), 1);
        us[i] = (seconds() - start) * 1e6 / CALLS;
    }
    printf("fork_join=%.3f threads=%zu\n", median(us, SAMPLES), pool_threads(p));
    pool_free(p);
    close_stdout();
    return EXIT_DONE;
}
