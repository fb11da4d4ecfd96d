/* A pool of threads for independent jobs, whose results are taken in the order in which the jobs
 * were given.
 *
 * Two ways to use it: jobs_run for a list whose length is known, and jobs_new with jobs_give and
 * jobs_take for jobs that come one by one, as input does. Jobs are meant to be long (a tensor, a
 * batch of records): one lock serves all threads.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_JOBS_H
#define BASE_JOBS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* ---- A list ---- */

struct jobs_list {
    size_t n;                          // jobs 0 .. n - 1
    void (*work)(void *arg, size_t i); // on any thread; begun in the order of i
    void (*take)(void *arg, size_t i); // on the calling thread, in the order of i; or NULL
    void (*wait)(void *arg);           // on the calling thread, about ten times a second; or NULL
    void *arg;
};

/* Runs all jobs on n_threads threads, but at most one a job, and returns when the last has been
 * taken. The calling thread only takes. -1 (EXIT_SYSTEM) if no thread can be started; fewer threads
 * than n_threads are no error. */
int jobs_run(const struct jobs_list *list, size_t n_threads, struct err *e);

size_t jobs_cpus_online(void); // a default for n_threads

/* ---- One by one ---- */

struct jobs_work {
    void *(*begin)(void *ctx);            // makes a thread's worker, in that thread
    void (*job)(void *worker, void *job); // does one job
    void (*end)(void *worker);            // frees the worker
    void *ctx;
};

struct jobs;

/* With n_threads of 0 or 1 there is no thread: jobs_give does the job. most: the largest number of
 * jobs that have been given and not taken. NULL with e set (EXIT_SYSTEM) if no thread can be
 * started; fewer threads than n_threads are no error. */
struct jobs *jobs_new(size_t n_threads, size_t most, const struct jobs_work *work, struct err *e);

void jobs_give(struct jobs *j, void *job); // not if jobs_full
bool jobs_full(const struct jobs *j);

/* The oldest job that has not been taken, if it is done. If it is not: waits for it, or returns
 * NULL without `wait`. NULL if there is no such job. */
void *jobs_take(struct jobs *j, bool wait);

/* Waits until the oldest job is done, or fd can be read or is at its end. True if the caller is to
 * read from fd: it may be readable, or there is no job. */
bool jobs_wait(struct jobs *j, int fd);

bool jobs_idle(const struct jobs *j); // every job has been taken
void jobs_free(struct jobs *j);       // every job must have been taken

#endif
