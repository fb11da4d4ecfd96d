/* Jobs in order: see jobs.h. A ring of jobs; threads take the next one that nobody has begun.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/jobs.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

struct slot {
    void *job;
    bool done;
};

struct jobs {
    struct jobs_work work;
    void *alone;       // the worker, where there are no threads
    struct slot *ring; // [most]
    unsigned most, n_threads;
    pthread_t *threads; // [n_threads]
    pthread_mutex_t lock;
    pthread_cond_t given, finished;
    unsigned long first, begun,
        next; // jobs by number: not taken from first on, not begun from begun on
    bool ending;
    int bell[2]; // a pipe into which threads write a byte when a job is done, for who waits for
                 // input too
};

static void *run(void *arg) {
    struct jobs *o = arg;
    void *worker = o->work.begin(o->work.ctx);
    pthread_mutex_lock(&o->lock);
    for (;;) {
        while (o->begun == o->next && !o->ending)
            pthread_cond_wait(&o->given, &o->lock);
        if (o->begun == o->next)
            break;
        struct slot *s = &o->ring[o->begun++ % o->most];
        pthread_mutex_unlock(&o->lock);
        o->work.job(worker, s->job);
        pthread_mutex_lock(&o->lock);
        s->done = true;
        pthread_cond_signal(&o->finished);
        (void)!write(o->bell[1], "", 1); // where the pipe is full, it rings anyway
    }
    pthread_mutex_unlock(&o->lock);
    o->work.end(worker);
    return NULL;
}

struct jobs *jobs_new(unsigned n_threads, unsigned most, const struct jobs_work *work) {
    struct jobs *o = xcalloc(1, sizeof *o);
    o->work = *work;
    o->most = most;
    o->ring = xcalloc(most, sizeof *o->ring);
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->given, NULL);
    pthread_cond_init(&o->finished, NULL);
    if (n_threads <= 1) {
        o->alone = work->begin(work->ctx);
        return o;
    }
    if (pipe(o->bell) != 0)
        die(EXIT_SYSTEM, "cannot make a pipe");
    for (int i = 0; i < 2; i++) {
        fcntl(o->bell[i], F_SETFD, FD_CLOEXEC);
        fcntl(o->bell[i], F_SETFL, O_NONBLOCK);
    }
    o->threads = xcalloc(n_threads, sizeof *o->threads);
    for (; o->n_threads < n_threads; o->n_threads++)
        if (pthread_create(&o->threads[o->n_threads], NULL, run, o) != 0)
            die(EXIT_SYSTEM, "cannot start thread %u of %u", o->n_threads + 1, n_threads);
    return o;
}

bool jobs_full(struct jobs *o) {
    return o->next - o->first == o->most; // both are the caller's
}

void jobs_give(struct jobs *o, void *job) {
    struct slot *s = &o->ring[o->next % o->most];
    *s = (struct slot){job, false};
    if (!o->n_threads) {
        o->work.job(o->alone, job);
        s->done = true;
        o->next++;
        return;
    }
    pthread_mutex_lock(&o->lock);
    o->next++;
    pthread_cond_signal(&o->given);
    pthread_mutex_unlock(&o->lock);
}

void *jobs_take(struct jobs *o, bool wait) {
    if (o->first == o->next)
        return NULL;
    struct slot *s = &o->ring[o->first % o->most];
    pthread_mutex_lock(&o->lock);
    while (!s->done && wait)
        pthread_cond_wait(&o->finished, &o->lock);
    bool done = s->done;
    pthread_mutex_unlock(&o->lock);
    if (!done)
        return NULL;
    o->first++;
    return s->job;
}

bool jobs_idle(struct jobs *o) {
    return o->first == o->next;
}

static bool oldest_done(struct jobs *o) {
    pthread_mutex_lock(&o->lock);
    bool done = o->ring[o->first % o->most].done;
    pthread_mutex_unlock(&o->lock);
    return done;
}

bool jobs_wait(struct jobs *o, int fd) {
    if (jobs_idle(o))
        return true;
    while (!oldest_done(o)) {
        struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = o->bell[0], .events = POLLIN}};
        char rings[64];
        poll(fds, 2, -1);
        while (fds[1].revents && read(o->bell[0], rings, sizeof rings) > 0)
            ;
        if (fds[0].revents)
            return true;
    }
    return false;
}

void jobs_free(struct jobs *o) {
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->ending = true;
    pthread_cond_broadcast(&o->given);
    pthread_mutex_unlock(&o->lock);
    for (unsigned i = 0; i < o->n_threads; i++)
        pthread_join(o->threads[i], NULL);
    if (o->n_threads) {
        close(o->bell[0]);
        close(o->bell[1]);
    } else {
        o->work.end(o->alone);
    }
    pthread_mutex_destroy(&o->lock);
    pthread_cond_destroy(&o->given);
    pthread_cond_destroy(&o->finished);
    free(o->threads);
    free(o->ring);
    free(o);
}
