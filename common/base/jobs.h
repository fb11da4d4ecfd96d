/* Jobs done by several threads, whose results are taken in the order in which they were given; jobs
 * come one by one, as input does (for a list of known length: ordered.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_JOBS_H
#define BASE_JOBS_H

#include <stdbool.h>

struct jobs_work {
    void *(*begin)(void *ctx);            // what one thread needs; called in that thread
    void (*job)(void *worker, void *job); // does one job
    void (*end)(void *worker);
    void *ctx;
};

struct jobs;

/* One thread: jobs are done by the caller, in jobs_give. most: how many may be given and not taken
 * yet. */
struct jobs *jobs_new(unsigned n_threads, unsigned most, const struct jobs_work *work);
void jobs_give(struct jobs *o, void *job); // not while jobs_full
bool jobs_full(struct jobs *o);

/* The oldest job that was not taken yet, when it is done: waits for it, or without `wait` gives
 * NULL when it is not. NULL where there is none. */
void *jobs_take(struct jobs *o, bool wait);

/* Waits until the oldest job is done, or fd can be read (or is at its end). True where it may be
 * the latter, or where there is no job: then a read is next. */
bool jobs_wait(struct jobs *o, int fd);
bool jobs_idle(struct jobs *o); // every job has been taken
void jobs_free(struct jobs *o); // every job must have been taken

#endif
