/* Independent jobs, results in order: see ordered.h. Jobs are meant to be long (a tensor, a file):
 * one lock serves all threads.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/ordered.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"

struct run {
    const struct ordered *o;
    size_t n, next;       // jobs, first one that nobody has begun
    bool *done;           // [n]
    pthread_mutex_t lock; // over next and done
    pthread_cond_t some_done;
};

static void *worker(void *arg) {
    struct run *r = arg;
    pthread_mutex_lock(&r->lock);
    while (r->next < r->n) {
        size_t i = r->next++;
        pthread_mutex_unlock(&r->lock);
        r->o->work(r->o->arg, i);
        pthread_mutex_lock(&r->lock);
        r->done[i] = true;
        pthread_cond_signal(&r->some_done);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* Waits, with the lock held, until a job is done or a tenth of a second is over. */
static void wait_a_little(struct run *r) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    int rc = pthread_cond_timedwait(&r->some_done, &r->lock, &until);
    if (rc == ETIMEDOUT && r->o->wait) {
        pthread_mutex_unlock(&r->lock);
        r->o->wait(r->o->arg);
        pthread_mutex_lock(&r->lock);
    }
}

static void take_all(struct run *r) {
    for (size_t i = 0; i < r->n; i++) {
        pthread_mutex_lock(&r->lock);
        while (!r->done[i])
            wait_a_little(r);
        pthread_mutex_unlock(&r->lock);
        if (r->o->take)
            r->o->take(r->o->arg, i);
    }
}

int ordered_run(const struct ordered *o, size_t n_threads, size_t n, struct err *e) {
    if (n == 0)
        return 0;
    if (n_threads > n)
        n_threads = n;
    if (n_threads == 0)
        n_threads = 1;
    struct run r = {.o = o, .n = n, .done = xcalloc(n, sizeof *r.done)};
    pthread_t *threads = xcalloc(n_threads, sizeof *threads);
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.some_done, NULL);
    size_t started = 0;
    while (started < n_threads &&
           (errno = pthread_create(&threads[started], NULL, worker, &r)) == 0)
        started++;
    int rc = started ? 0 : err_errno(e, EXIT_SYSTEM, "cannot start a thread");
    if (rc == 0)
        take_all(&r);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_cond_destroy(&r.some_done);
    pthread_mutex_destroy(&r.lock);
    free(threads);
    free(r.done);
    return rc;
}

size_t cpus_online(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (size_t)n : 1;
}
