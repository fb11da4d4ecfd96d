/* The parts that driver.c, queue.c and upload.c share: see driver.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_PRIVATE_H
#define BACKEND_CUDA_PRIVATE_H

#include <sys/types.h>

#include "backend/cuda/api.h"
#include "backend/cuda/driver.h"

enum {
    CU_STAGES = 2,
    CU_MODULES = 32, // of an image; each .cu is one
};

struct cu_stage { // a pinned buffer, through which uploads go
    unsigned char *p;
    void *event; // after the last copy out of it
};

struct cu {
    struct cu_api api;
    struct cu_info info;
    pid_t owner;
    int device;
    bool virtual_memory; // the device has what cu_reserve needs
    void *context, *stream;
    void *modules[CU_MODULES]; // [n_modules]
    size_t n_modules;
    struct cu_kernel *kernels;
    struct err kept;     // the first error of what was queued
    struct err unusable; // the first error of what is being recorded
    bool capturing;
    struct cu_stage stages[CU_STAGES];
    size_t stage, staged; // the buffer in use, and the bytes in use of it
    void *begin, *end;    // events of cu_time_begin, cu_time_end
    void **marks;         // [n_marks] events
    size_t n_marks;
};

static inline uint64_t cu_address(const void *p) {
    return (uint64_t)(uintptr_t)p;
}
static inline void *cu_pointer(uint64_t p) {
    return (void *)(uintptr_t)p;
}
static inline double cu_megabytes(size_t bytes) {
    return (double)bytes / 1e6;
}

/* Copies the stored error to e and returns -1; 0 if there is none. */
static inline int cu_kept(const struct cu *c, struct err *e) {
    if (c->kept.code != 0 && e)
        *e = c->kept;
    return c->kept.code != 0 ? -1 : 0;
}

/* For cu_close. Results are ignored: an error here was an error before, and was reported then. */
void cu_stages_free(struct cu *c);
void cu_kernels_free(struct cu *c);
void cu_marks_free(struct cu *c);

#endif
