/* How many threads are worth starting.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_CORES_H
#define KERNELS_CORES_H

#include <stddef.h>

size_t physical_cores(void); // that this process may use, at least 1

/* The CPU that the calling thread is on; -1 where the system does not say. */
int current_cpu(void);

/* Moves the calling thread from its CPU to another that it may use, where it may use at least n. It
 * is not bound to that: what it may use stays as it is. */
void leave_cpu(size_t n);

/* The calling thread's number in the system; 0 where there is none. */
int thread_number(void);

/* To be called before going to sleep: where the thread of this process with that number has work
 * but no CPU, because others use the one that it is on, it comes to the calling thread's. Finding
 * that out takes some 20 us. */
void lend_cpu(int number);

#endif
