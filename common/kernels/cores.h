/* How many threads are worth starting.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_CORES_H
#define KERNELS_CORES_H

#include <stddef.h>

size_t physical_cores(void); // that this process may use, at least 1

/* The CPU that the calling thread is on; -1 where the system does not say. */
int current_cpu(void);

/* Moves the calling thread from its CPU to another of its affinity mask, if that has at least n
 * CPUs. The mask is the same afterwards. */
void leave_cpu(size_t n);

/* The calling thread's number in the system; 0 where there is none. */
int thread_number(void);

/* For a thread that is about to sleep: if the named thread of this process has work but no CPU,
 * because another process uses it, it moves to the caller's CPU. Its affinity mask is the same
 * afterwards. Finding out takes POOL_WATCH_NS. */
void lend_cpu(int thread);

#endif
