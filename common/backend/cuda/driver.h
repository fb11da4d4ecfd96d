/* One GPU: its memory, what is queued on it, its kernels and graphs, over NVIDIA's driver.
 *
 *     struct cu *c;
 *     cu_open(&c, 0, e);                           // libcuda.so.1, device 0, its kernels
 *     cu_alloc(c, bytes, "the weights", &w, e);
 *     cu_upload(c, w, file, bytes, e);             // from any memory
 *     cu_launch(c, kernel, (struct cu_shape){.x = 8, .threads = 256}, &args);
 *     cu_to_host(c, pinned, y, bytes);
 *     cu_sync(c, e);                               // returns every error of what was queued
 *
 * A function that can fail at once returns -1 (cu_kernel: NULL) and fills struct err: EXIT_SYSTEM,
 * the driver's name for the error, and where. Functions that only queue work return nothing: the
 * first error is stored, nothing is queued after it, and cu_sync returns it, also at each later
 * call. So a step is a list of calls without a test after each.
 *
 * There is one stream: queued work runs in order. Only the thread that opened a struct cu may use
 * it. A child of fork may only call cu_close, or nothing. Addresses on the device are void * and
 * are never dereferenced here. Queueing allocates no memory on the host.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_DRIVER_H
#define BACKEND_CUDA_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct cu;
struct cu_kernel;
struct cu_graph;

/* Opens device number `index` of this machine, with the kernels of this build, or of the file that
 * the environment's LLM_CUDA_IMAGE names. Takes some 0.2 s with a real driver. */
int cu_open(struct cu **out, unsigned index, struct err *e);

/* Waits, and closes. The caller has freed what cu_alloc, cu_reserve and cu_pinned_alloc returned. c
 * may be NULL. A lost device is no error here. */
void cu_close(struct cu *c);

/* A line for each device: "cuda:N", name, compute capability, memory. -1 where there is no driver,
 * or no device. */
int cu_list(FILE *out, struct err *e);

struct cu_info {
    char name[128];
    int driver;          // the CUDA version of the driver: 13020 is 13.2
    int sm;              // compute capability: 90 is 9.0
    unsigned n_sms;      // streaming multiprocessors
    size_t l2_bytes;     // of the L2 cache
    size_t shared_bytes; // the most dynamic shared memory of a block
    size_t total_bytes;  // of memory
};
const struct cu_info *cu_info(const struct cu *c);

/* Free memory of the device; other processes use it too. */
int cu_free_bytes(struct cu *c, size_t *out, struct err *e);

/* Device memory, aligned to 256 bytes; `what` is for the message. */
int cu_alloc(struct cu *c, size_t bytes, const char *what, void **out, struct err *e);
void cu_free(struct cu *c, void *p); // p may be NULL; waits for what is queued

/* Pinned host memory, which the device reads and writes directly. */
int cu_pinned_alloc(struct cu *c, size_t bytes, const char *what, void **out, struct err *e);
void cu_pinned_free(struct cu *c, void *p);

/* A range of addresses. Memory is mapped to it from its start, as it is needed. Nothing moves. */
struct cu_region {
    void *base;
    size_t bytes;     // of addresses
    size_t committed; // of them have memory, from base; its first contents are undefined
    size_t *chunks;   // [n_chunks] bytes of each piece of memory, in order
    size_t n_chunks;
};
int cu_reserve(struct cu *c, struct cu_region *r, size_t bytes, struct err *e);
/* Maps memory so that at least the first `upto` bytes have some; at least 32 MB at a time. -1: the
 * region is as before, or larger. */
int cu_commit(struct cu *c, struct cu_region *r, size_t upto, struct err *e);
void cu_unreserve(struct cu *c,
                  struct cu_region *r); // waits; leaves *r all zero

/* Copies to the device from any memory of the host; src may change after the call. The bytes go
 * through two pinned buffers, so that reading src (perhaps a mapped file) and copying overlap. */
int cu_upload(struct cu *c, void *dst, const void *src, size_t bytes, struct err *e);
/* The same for a matrix of n_rows rows of `width` bytes, which are dst_pitch and src_pitch bytes
 * apart. The rest of each row of dst becomes zero. */
int cu_upload_rows(struct cu *c, void *dst, size_t dst_pitch, const void *src, size_t src_pitch,
                   size_t width, size_t n_rows, struct err *e);
int cu_upload_end(struct cu *c, struct err *e); // waits, and frees the buffers

/* Queued. Host memory is pinned, and must not change until cu_sync. */
void cu_to_device(struct cu *c, void *dst, const void *pinned, size_t bytes);
void cu_to_host(struct cu *c, void *pinned, const void *src, size_t bytes);
void cu_copy(struct cu *c, void *dst, const void *src, size_t bytes); // within the device
void cu_fill(struct cu *c, void *dst, size_t bytes, unsigned char value);

/* Waits until all queued work is done. */
int cu_sync(struct cu *c, struct err *e);
/* The stored error, without waiting; NULL while there is none. */
const struct err *cu_error(const struct cu *c);

/* A kernel by name, to be launched with at most shared_bytes of dynamic shared memory. Lives as
 * long as c. Must be called before a capture begins. NULL if no kernel has that name. */
const struct cu_kernel *cu_kernel(struct cu *c, const char *name, size_t shared_bytes,
                                  struct err *e);

struct cu_shape {
    unsigned x, y, z; // blocks; y and z may be 0, which is 1
    unsigned threads; // of a block
    unsigned shared;  // bytes of dynamic shared memory
    // Programmatic dependent launch: blocks may begin while the kernel before still runs, and call
    // grid_wait (device.h). Without effect below compute capability 9.0.
    bool early;
};
/* Queued. args: the kernel's one parameter, a struct of args.h; copied. */
void cu_launch(struct cu *c, const struct cu_kernel *k, struct cu_shape shape, const void *args);

/* Between begin and end, calls are recorded, not run. Only launches, cu_copy, cu_fill, and copies
 * whose addresses stay the same may be recorded; nothing else may be called. -1 from
 * cu_capture_end: the recording failed, nothing of it has run, and the caller may make the same
 * calls without recording. */
void cu_capture_begin(struct cu *c);
int cu_capture_end(struct cu *c, struct cu_graph **out, struct err *e);
void cu_graph_launch(struct cu *c, const struct cu_graph *g); // queued
void cu_graph_free(struct cu *c, struct cu_graph *g);         // g may be NULL

/* Marks the end of what was queued so far with number i, counted from 0. Queued; not while
 * recording. */
void cu_mark(struct cu *c, size_t i);
/* Milliseconds of the device between marks i and i + 1, which cu_sync has waited for. */
double cu_marked_ms(struct cu *c, size_t i);

/* For benchmarks: the device's time for the work that is queued between the two, in milliseconds.
 */
void cu_time_begin(struct cu *c);
int cu_time_end(struct cu *c, double *out_ms, struct err *e); // waits

#endif
