/* base/thread: thread_start_apart begins on another CPU, and the thread may later use all CPUs of
 * its creator.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // sched_getaffinity, sched_getcpu
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>

#include "../lib/check.h"
#include "base/thread.h"

struct place {
    cpu_set_t may;
    sem_t started;
    int cpu;
};

static void *look(void *arg) {
    struct place *p = arg;
    p->cpu = sched_getcpu();
    sem_wait(&p->started);
    sched_getaffinity(0, sizeof p->may, &p->may);
    return NULL;
}

/* Whether it began on another CPU. */
static bool begins_elsewhere(const cpu_set_t *may) {
    struct place p = {0};
    pthread_t t;
    sem_init(&p.started, 0, 0);
    int here = sched_getcpu();
    CHECK(thread_start_apart(&t, look, &p) == 0);
    sem_post(&p.started);
    pthread_join(t, NULL);
    sem_destroy(&p.started);
    CHECK(CPU_EQUAL(&p.may, may));
    return p.cpu != here;
}

/* Not each time: the system may move either thread at any moment. */
static void apart(void) {
    enum { TIMES = 50 };
    cpu_set_t may;
    int elsewhere = 0;
    CHECK(sched_getaffinity(0, sizeof may, &may) == 0);
    for (int i = 0; i < TIMES; i++)
        elsewhere += begins_elsewhere(&may);
#if defined(__GLIBC__)
    CHECK(elsewhere > TIMES / 2 || CPU_COUNT(&may) == 1);
#endif
}

static void one_cpu(void) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET((size_t)sched_getcpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(!begins_elsewhere(&one));
}

int main(void) {
    RUN(apart);
    RUN(one_cpu);
    return check_done();
}
