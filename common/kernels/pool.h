/* A persistent pool of threads that work on one job at a time (fork-join).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_POOL_H
#define KERNELS_POOL_H

#include <stddef.h>

struct err;
struct pool;

/* n_threads counts the calling thread; 0: one for each physical core that this process may use. */
struct pool *pool_new(size_t n_threads, struct err *e);
void pool_free(struct pool *p);
size_t pool_threads(const struct pool *p);

/* Memory for the running piece alone, 4096-byte aligned; its contents are lost when the job ends.
 */
enum { POOL_SCRATCH = 1 << 20 };
void *pool_scratch(struct pool *p, size_t thread);

/* Calls job(arg, begin, end, thread) until [0, n) is covered, in pieces of `grain` items (fewer in
 * the last), taken as threads become free; returns when all are done. What a piece computes may not
 * depend on the cut: that is what keeps results the same for any number of threads. Not to be
 * nested. */
typedef void pool_job(void *arg, size_t begin, size_t end, size_t thread);
void pool_run(struct pool *p, pool_job *job, void *arg, size_t n, size_t grain);

/* The same; towards the end pieces become smaller, in multiples of `least`. */
void pool_run_pieces(struct pool *p, pool_job *job, void *arg, size_t n, size_t grain,
                     size_t least);

#endif
