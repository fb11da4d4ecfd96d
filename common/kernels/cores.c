/* How many threads are worth starting: the physical cores that this process may use; and where a
 * thread runs.
 *
 * Two hardware threads of one core share its vector units and its way to memory, so kernels gain
 * nothing from the second. Counted are the distinct cores in the affinity mask (Linux: each CPU's
 * list of siblings is named by its first member), no more than the CPU time that a control group
 * grants. Elsewhere: the online processors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // sched_getaffinity, sched_getcpu
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#endif
#include <stdio.h>
#include <unistd.h>

#include "base/progress.h"
#include "kernels/cores.h"

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

void leave_cpu(size_t n) {
    cpu_set_t may, others;
    int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof may, &may) != 0 ||
        (size_t)CPU_COUNT(&may) < n)
        return;
    others = may;
    CPU_CLR((size_t)cpu, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof others, &others) == 0)
        sched_setaffinity(0, sizeof may, &may);
}

int thread_number(void) {
    static _Thread_local int number;
    if (number == 0)
        number = (int)syscall(SYS_gettid);
    return number;
}

/* CPU time of a thread in ns, -1 where it's gone. Its clock's number is made as
 * pthread_getcpuclockid() makes it. */
static long long cpu_time(int thread) {
    struct timespec t;
    clockid_t clock = (clockid_t)(~(unsigned)thread << 3 | 6);
    return clock_gettime(clock, &t) == 0 ? t.tv_sec * 1000000000LL + t.tv_nsec : -1;
}

enum { STALLED_NS = 2000 };
static const double WATCH_SECONDS = 20e-6;

void lend_cpu(int number) {
    cpu_set_t may, here;
    long long before = cpu_time(number);
    double start = seconds_now();
    int cpu = sched_getcpu();
    while (seconds_now() - start < WATCH_SECONDS)
        ;
    if (before < 0 || cpu < 0 || cpu >= CPU_SETSIZE || cpu_time(number) - before > STALLED_NS ||
        sched_getaffinity(number, sizeof may, &may) != 0 || !CPU_ISSET((size_t)cpu, &may))
        return;
    CPU_ZERO(&here);
    CPU_SET((size_t)cpu, &here);
    if (sched_setaffinity(number, sizeof here, &here) == 0)
        sched_setaffinity(number, sizeof may, &may);
}
#else
int current_cpu(void) {
    return -1;
}
int thread_number(void) {
    return 0;
}
void lend_cpu(int number) {
    (void)number;
}
void leave_cpu(size_t n) {
    (void)n;
}
size_t physical_cores(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (size_t)n : 1;
}
#endif
