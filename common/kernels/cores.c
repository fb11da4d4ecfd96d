/* How many threads are worth starting: the physical cores that this process may use; and where a
 * thread runs.
 *
 * Two hardware threads of one core share its vector units and its path to memory, so kernels gain
 * nothing from the second. On Linux the distinct cores in the affinity mask are counted (the first
 * CPU of each list of siblings names the core), but no more than the CPU time that a control group
 * grants. Elsewhere it is the online processors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // sched_getaffinity, sched_getcpu
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#endif
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

#include "base/progress.h"
#include "kernels/cores.h"
#include "kernels/tune.h"

#if defined(__linux__)
/* The first CPU of those that share cpu's core, cpu itself where the kernel does not say. */
static int first_sibling(int cpu) {
    char path[96];
    int first = cpu;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    FILE *f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%d", &first) != 1)
            first = cpu;
        fclose(f);
    }
    return first;
}

/* CPUs' worth of time that the control group grants (cpu.max of cgroup v2: "quota period"), 0: no
 * limit. */
static size_t quota(void) {
    unsigned long long limit, period;
    size_t n = 0;
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (f) {
        if (fscanf(f, "%llu %llu", &limit, &period) == 2 && period > 0)
            n = (size_t)((limit + period - 1) / period);
        fclose(f);
    }
    return n;
}

size_t physical_cores(void) {
    cpu_set_t may, seen;
    if (sched_getaffinity(0, sizeof may, &may) != 0) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        return n > 0 ? (size_t)n : 1;
    }
    CPU_ZERO(&seen);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &may))
            continue;
        int first = first_sibling(cpu);
        if (first >= 0 && first < CPU_SETSIZE)
            CPU_SET((size_t)first, &seen);
    }
    size_t n = (size_t)CPU_COUNT(&seen), most = quota();
    if (most > 0 && n > most)
        n = most;
    return n > 0 ? n : 1;
}

int current_cpu(void) {
    return sched_getcpu();
}

/* One thread at a time changes a mask. Else a second one could take the first one's temporary mask
 * for the thread's own, restore it last, and so leave that thread bound to one CPU. */
static atomic_flag changing_mask = ATOMIC_FLAG_INIT;

/* Lets a thread (0: the calling one) use only `to`, which moves it there, then `may` again. If
 * another process has set a mask in between, that one stays. */
static void move_thread(int thread, const cpu_set_t *may, const cpu_set_t *to) {
    cpu_set_t now;
    if (sched_setaffinity(thread, sizeof *to, to) == 0 &&
        sched_getaffinity(thread, sizeof now, &now) == 0 && CPU_EQUAL(&now, to))
        sched_setaffinity(thread, sizeof *may, may);
}

void leave_cpu(size_t n) {
    cpu_set_t may, others;
    int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE || atomic_flag_test_and_set(&changing_mask))
        return;
    if (sched_getaffinity(0, sizeof may, &may) == 0 && (size_t)CPU_COUNT(&may) >= n) {
        others = may;
        CPU_CLR((size_t)cpu, &others);
        if (CPU_COUNT(&others) > 0)
            move_thread(0, &may, &others);
    }
    atomic_flag_clear(&changing_mask);
}

int thread_number(void) {
    static _Thread_local int number;
    if (number == 0)
        number = (int)syscall(SYS_gettid);
    return number;
}

/* CPU time of a thread in ns, -1 if it has ended. The number of its clock is made as
 * pthread_getcpuclockid() makes it. */
static long long cpu_time(int thread) {
    struct timespec t;
    clockid_t clock = (clockid_t)(~(unsigned)thread << 3 | 6);
    return clock_gettime(clock, &t) == 0 ? t.tv_sec * 1000000000LL + t.tv_nsec : -1;
}

/* Whether a thread gets no CPU time, as watched for POOL_WATCH_NS. */
static bool is_stalled(int thread) {
    long long before = cpu_time(thread);
    double start = seconds_now();
    while (seconds_now() - start < POOL_WATCH_NS * 1e-9)
        ;
    return before >= 0 && cpu_time(thread) - before <= POOL_WATCH_NS / 10;
}

void lend_cpu(int thread) {
    cpu_set_t may, own;
    int cpu = sched_getcpu();
    if (!is_stalled(thread) || cpu < 0 || cpu >= CPU_SETSIZE ||
        atomic_flag_test_and_set(&changing_mask))
        return;
    if (sched_getaffinity(thread, sizeof may, &may) == 0 && CPU_ISSET((size_t)cpu, &may)) {
        CPU_ZERO(&own);
        CPU_SET((size_t)cpu, &own);
        move_thread(thread, &may, &own);
    }
    atomic_flag_clear(&changing_mask);
}
#else
int current_cpu(void) {
    return -1;
}
int thread_number(void) {
    return 0;
}
void lend_cpu(int thread) {
    (void)thread;
}
void leave_cpu(size_t n) {
    (void)n;
}
size_t physical_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (size_t)n : 1;
}
#endif
