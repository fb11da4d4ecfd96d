/* Jobs on a pool: results in order with any number of threads, and input that is waited for beside
 * them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/jobs.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "../lib/check.h"
#include "base/mem.h"

enum { N = 200 };

struct sums {
    size_t results[N], n_taken, n_waits;
    bool in_order;
    int slow_ms;
};

static void work(void *arg, size_t i) {
    struct sums *s = arg;
    if (s->slow_ms)
        poll(NULL, 0, s->slow_ms);
    s->results[i] = i * i;
}

static void take(void *arg, size_t i) {
    struct sums *s = arg;
    s->in_order = s->in_order && i == s->n_taken && s->results[i] == i * i;
    s->n_taken++;
}

static void wait(void *arg) {
    ((struct sums *)arg)->n_waits++;
}

static void a_list(void) {
    static const size_t threads[] = {0, 1, 3, 500};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        struct sums s = {.in_order = true};
        CHECK(jobs_run(&(struct jobs_list){N, work, take, wait, &s}, threads[i], NULL) == 0);
        CHECK_INT(s.n_taken, N);
        CHECK(s.in_order);
    }
    struct sums s = {.in_order = true, .slow_ms = 250};
    CHECK(jobs_run(&(struct jobs_list){1, work, take, wait, &s}, 1, NULL) == 0);
    CHECK(s.n_waits >= 1 && s.n_taken == 1);
    CHECK(jobs_run(&(struct jobs_list){0, work, take, NULL, &s}, 4, NULL) == 0);
    CHECK_INT(s.n_taken, 1);
}

static void *begin(void *ctx) {
    return ctx;
}

static void negate(void *worker, void *job) {
    CHECK(worker != NULL);
    *(int *)job = -*(int *)job;
}

static void end(void *worker) {
    (void)worker;
}

/* Gives 0 .. N - 1 with at most `most` jobs not taken, and checks what is taken. */
static void one_by_one(size_t n_threads, size_t most) {
    int numbers[N], *done, next = 0, ctx;
    struct jobs *j = jobs_new(n_threads, most, &(struct jobs_work){begin, negate, end, &ctx}, NULL);
    CHECK(j && jobs_idle(j) && !jobs_take(j, true));
    for (int i = 0; i < N; i++) {
        if (jobs_full(j)) {
            done = jobs_take(j, true);
            CHECK(done == &numbers[next] && *done == -next);
            next++;
        }
        numbers[i] = i;
        jobs_give(j, &numbers[i]);
    }
    while ((done = jobs_take(j, true))) {
        CHECK(done == &numbers[next] && *done == -next);
        next++;
    }
    CHECK_INT(next, N);
    CHECK(jobs_idle(j));
    jobs_free(j);
}

static void a_stream(void) {
    one_by_one(1, 1);
    one_by_one(1, 3);
    one_by_one(4, 12);
}

static void input_beside(void) {
    int ends[2], number = 7, ctx;
    struct jobs *j = jobs_new(2, 4, &(struct jobs_work){begin, negate, end, &ctx}, NULL);
    CHECK(pipe(ends) == 0);
    CHECK(jobs_wait(j, ends[0])); // no job: the caller reads
    jobs_give(j, &number);
    CHECK(!jobs_wait(j, ends[0])); // no input: until the job is done
    CHECK(jobs_take(j, false) == &number && number == -7);
    jobs_free(j);
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    RUN(a_list);
    RUN(a_stream);
    RUN(input_beside);
    return check_done();
}
