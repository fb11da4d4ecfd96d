/* What the kernels of selftest.cu are told. SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_CUDA_SELFTEST_H
#define TESTS_CUDA_SELFTEST_H

#include <stdint.h>

struct test_args {
    uint32_t *out;
    const void *in;
    const uint16_t *a, *b; // [16 or 64, 16] and [n, 16]
    float *d;              // [16 or 64, n]
    uint32_t rounds, which, f16;
};

enum test_fault { // of test_fault
    FAULT_NONE,
    FAULT_RACE_WRITE_READ,
    FAULT_RACE_READ_WRITE,
    FAULT_RACE_HALVES, // two threads write one half each of a word, twice the same one
    FAULT_RACE_WARP,
    FAULT_COPY_WAIT,
    FAULT_COPY_GROUP, // waits for the group before the one that it reads
    FAULT_COPY_BARRIER,
    FAULT_COPY_ALIGNMENT,
    FAULT_DEADLOCK,
    FAULT_DEADLOCK_WARP,
    FAULT_MASK,
    FAULT_DYNAMIC_END,
    FAULT_GLOBAL_END,
    FAULT_ALIGNMENT,
    FAULT_LOAD_SHARED,
    FAULT_GRID_WAIT
};
enum test_wgmma {
    WGMMA_RIGHT,
    WGMMA_NO_WAIT,
    WGMMA_NO_FENCE,
    WGMMA_NO_FENCE_SHARED,
    WGMMA_OVERWRITTEN,
    WGMMA_REGISTERS
};
enum test_bulk {
    BULK_RIGHT,
    BULK_NO_WAIT,
    BULK_NO_SYNC,     // after barrier_init
    BULK_NOT_READY,   // no barriers_ready
    BULK_OVERWRITTEN, // no wait until the stage has been read
    BULK_FEWER,       // bytes announced than copied
    BULK_LEFT         // nobody waits for the copies
};

#endif
