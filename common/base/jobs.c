/* A pool of threads: see jobs.h.
 *
 * Jobs are numbered and stored in a ring. Each thread takes the first job that no thread has begun.
 * Three numbers say where the pool is:
 *
 *     ... taken ... | done or begun ... | given, not begun ... |
 *                   first               begun                  next
 *
 * first and next belong to the caller's thread, so it reads them without the lock. A pipe wakes a
 * caller that polls its input too: threads write a byte into it for each job that is done.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/jobs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/thread.h"

struct slot {
    void *job;
    bool done;
};

struct jobs {
    struct jobs_work work;
    void *alone;       // the worker, if there are no threads
    struct slot *ring; // [most]
    size_t most, n_threads;
    pthread_t *threads; // [n_threads]
    pthread_mutex_t lock;
    pthread_cond_t given, finished;
    unsigned long first, begun, next; // numbers of jobs: see above
    bool ending;                      // threads end when no job is left to begin
    int bell[2];                      // the pipe; both ends never block
};

/* ---- Threads ---- */

static void *run(void *arg) {
    struct jobs *j = arg;
    void *worker = j->work.begin(j->work.ctx);
    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (j->begun == j->next && !j->ending)
            pthread_cond_wait(&j->given, &j->lock);
        if (j->begun == j->next)
            break;
        struct slot *s = &j->ring[j->begun++ % j->most];
        pthread_mutex_unlock(&j->lock);
        j->work.job(worker, s->job);
        pthread_mutex_lock(&j->lock);
        s->done = true;
        pthread_cond_signal(&j->finished);
        (void)!write(j->bell[1], "", 1); // a full pipe wakes the caller as well
    }
    pthread_mutex_unlock(&j->lock);
    j->work.end(worker);
    return NULL;
}

static int start_threads(struct jobs *j, size_t n_threads, struct err *e) {
    if (pipe(j->bell) != 0)
        return err_errno(e, EXIT_SYSTEM, "cannot make a pipe");
    for (int i = 0; i < 2; i++) {
        fcntl(j->bell[i], F_SETFD, FD_CLOEXEC);
        fcntl(j->bell[i], F_SETFL, O_NONBLOCK);
    }
    j->threads = xcalloc(n_threads, sizeof *j->threads);
    while (j->n_threads < n_threads &&
           (errno = thread_start(&j->threads[j->n_threads], run, j)) == 0)
        j->n_threads++;
    return j->n_threads ? 0 : err_errno(e, EXIT_SYSTEM, "cannot start a thread");
}

/* ---- One by one ---- */

/* A pool with threads, or with n_threads of 0 without. */
static struct jobs *pool_new(size_t n_threads, size_t most, const struct jobs_work *work,
                             struct err *e) {
    struct jobs *j = xcalloc(1, sizeof *j);
    j->work = *work;
    j->most = most;
    j->ring = xcalloc(most, sizeof *j->ring);
    j->bell[0] = j->bell[1] = -1;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->given, NULL);
    pthread_cond_init(&j->finished, NULL);
    if (n_threads > 0 && start_threads(j, n_threads, e) != 0) {
        jobs_free(j);
        return NULL;
    }
    return j;
}

struct jobs *jobs_new(size_t n_threads, size_t most, const struct jobs_work *work, struct err *e) {
    struct jobs *j = pool_new(n_threads > 1 ? n_threads : 0, most, work, e);
    if (j && j->n_threads == 0)
        j->alone = work->begin(work->ctx);
    return j;
}

bool jobs_full(const struct jobs *j) {
    return j->next - j->first == j->most;
}

bool jobs_idle(const struct jobs *j) {
    return j->first == j->next;
}

void jobs_give(struct jobs *j, void *job) {
    struct slot *s = &j->ring[j->next % j->most];
    *s = (struct slot){job, false};
    if (!j->n_threads) {
        j->work.job(j->alone, job);
        s->done = true;
        j->next++;
        return;
    }
    pthread_mutex_lock(&j->lock);
    j->next++;
    pthread_cond_signal(&j->given);
    pthread_mutex_unlock(&j->lock);
}

static bool oldest_done(struct jobs *j) {
    pthread_mutex_lock(&j->lock);
    bool done = j->ring[j->first % j->most].done;
    pthread_mutex_unlock(&j->lock);
    return done;
}

void *jobs_take(struct jobs *j, bool wait) {
    if (jobs_idle(j))
        return NULL;
    struct slot *s = &j->ring[j->first % j->most];
    pthread_mutex_lock(&j->lock);
    while (!s->done && wait)
        pthread_cond_wait(&j->finished, &j->lock);
    bool done = s->done;
    pthread_mutex_unlock(&j->lock);
    if (!done)
        return NULL;
    j->first++;
    return s->job;
}

bool jobs_wait(struct jobs *j, int fd) {
    if (jobs_idle(j))
        return true;
    while (!oldest_done(j)) {
        struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = j->bell[0], .events = POLLIN}};
        char rings[64];
        poll(fds, 2, -1);
        while (fds[1].revents && read(j->bell[0], rings, sizeof rings) > 0)
            ;
        if (fds[0].revents)
            return true;
    }
    return false;
}

void jobs_free(struct jobs *j) {
    if (!j)
        return;
    pthread_mutex_lock(&j->lock);
    j->ending = true;
    pthread_cond_broadcast(&j->given);
    pthread_mutex_unlock(&j->lock);
    for (size_t i = 0; i < j->n_threads; i++)
        pthread_join(j->threads[i], NULL);
    for (int i = 0; i < 2; i++)
        if (j->bell[i] >= 0)
            close(j->bell[i]);
    if (j->alone)
        j->work.end(j->alone);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->given);
    pthread_cond_destroy(&j->finished);
    free(j->threads);
    free(j->ring);
    free(j);
}

/* ---- A list ---- */

static void *list_begin(void *ctx) {
    return ctx;
}

static void list_job(void *worker, void *job) {
    const struct jobs_list *list = worker;
    const size_t *i = job;
    list->work(list->arg, *i);
}

static void list_end(void *worker) {
    (void)worker;
}

/* Waits until the oldest job is done; calls list->wait every tenth of a second. */
static void wait_and_tell(struct jobs *j, const struct jobs_list *list) {
    struct slot *s = &j->ring[j->first % j->most];
    pthread_mutex_lock(&j->lock);
    while (!s->done) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        if (pthread_cond_timedwait(&j->finished, &j->lock, &until) != ETIMEDOUT)
            continue;
        pthread_mutex_unlock(&j->lock);
        list->wait(list->arg);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
}

int jobs_run(const struct jobs_list *list, size_t n_threads, struct err *e) {
    if (list->n == 0)
        return 0;
    n_threads = n_threads == 0 ? 1 : n_threads < list->n ? n_threads : list->n;
    struct jobs_work work = {list_begin, list_job, list_end, (void *)(uintptr_t)list};
    struct jobs *j = pool_new(n_threads, list->n, &work, e);
    if (!j)
        return -1;
    size_t *numbers = xcalloc(list->n, sizeof *numbers);
    for (size_t i = 0; i < list->n; i++) {
        numbers[i] = i;
        jobs_give(j, &numbers[i]);
    }
    for (size_t i = 0; i < list->n; i++) {
        if (list->wait)
            wait_and_tell(j, list);
        jobs_take(j, true);
        if (list->take)
            list->take(list->arg, i);
    }
    jobs_free(j);
    free(numbers);
    return 0;
}

size_t jobs_cpus_online(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (size_t)n : 1;
}
