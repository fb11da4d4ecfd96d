/* mbarriers, bulk copies from global to shared memory, and clusters of blocks (PTX ISA: mbarrier,
 * cp.async.bulk, barrier.cluster). GPUs have them from sm_90 on; CU_BULK is defined if the target
 * does.
 *
 * An mbarrier goes through phases 0, 1, 2 ... A phase ends when `arrivals` arrivals have been made
 * and all bytes that were announced in it have been copied. barrier_wait(b, p) returns when the
 * current phase has another parity than p: a new barrier's first phase is waited for with parity 0,
 * and a wait with parity 1 returns at once.
 *
 *     SHARED uint64_t full;
 *     if (threadIdx.x == 0) {
 *         barrier_init(&full, 1);
 *         barriers_ready();
 *     }
 *     __syncthreads();                       // no thread uses a barrier before
 *     if (threadIdx.x == 0) {
 *         barrier_arrive_expect(&full, n);
 *         bulk_copy(to, from, n, &full);     // may be several copies, n bytes together
 *     }
 *     barrier_wait(&full, 0);                // then this thread may read `to`
 *
 * Addresses and sizes of copies are multiples of 16 bytes. A block must not end before its copies
 * have arrived. Before a copy overwrites what threads have read, they arrive at another mbarrier,
 * which the thread that starts the copy waits for. After threads have written there, each of them
 * also calls fence_shared before it arrives.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_BULK_H
#define BACKEND_CUDA_BULK_H

#include "backend/cuda/device.h"

#ifdef CUDA_SHIM
#define CU_BULK                                       // shim.h has the functions
#elif !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900 // the host's pass needs the names
#define CU_BULK

DEVICE uint32_t shared_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

DEVICE void barrier_init(uint64_t *b, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals)
                 : "memory");
}
/* After the thread's barrier_init: copies and other blocks of the cluster see them. */
DEVICE void barriers_ready(void) {
    asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;" ::
                     : "memory");
}
/* What this thread has written to shared memory is seen by bulk copies and by wgmma. */
DEVICE void fence_shared(void) {
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

DEVICE void barrier_arrive(uint64_t *b) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
/* Arrives, and announces bytes of copies that signal b in this phase. */
DEVICE void barrier_arrive_expect(uint64_t *b, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)),
                 "r"(bytes)
                 : "memory");
}
/* Arrives at the same barrier of block `rank` of the cluster. */
DEVICE void barrier_arrive_at(uint64_t *b, uint32_t rank) {
    asm volatile("{\n.reg .b32 there;\nmapa.shared::cluster.u32 there, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [there];\n}\n" ::"r"(shared_address(b)),
                 "r"(rank)
                 : "memory");
}

DEVICE bool barrier_try_wait(uint64_t *b, uint32_t parity) {
    uint32_t done;
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}\n"
                 : "=r"(done)
                 : "r"(shared_address(b)), "r"(parity)
                 : "memory");
    return done;
}
DEVICE void barrier_wait(uint64_t *b, uint32_t parity) {
#ifdef BARRIER_LIMIT_NS // benches: a wait without end stops the kernel
    uint64_t begin, now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(begin));
    while (!barrier_try_wait(b, parity)) {
        asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
        if (now - begin > BARRIER_LIMIT_NS)
            asm volatile("trap;");
    }
#else
    while (!barrier_try_wait(b, parity)) {
    }
#endif
}

/* Copies, and signals b when the bytes are there. One thread's call is one copy. */
DEVICE void bulk_copy(void *shared, const void *global, uint32_t bytes, uint64_t *b) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], "
                 "%2, [%3];" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(b))
                 : "memory");
}
/* To the same place of each block of the cluster whose bit of `blocks` is set, and signals the same
 * barrier of each. */
DEVICE void bulk_copy_each(void *shared, const void *global, uint32_t bytes, uint64_t *b,
                           uint16_t blocks) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes"
                 ".multicast::cluster [%0], [%1], %2, [%3], %4;" ::"r"(shared_address(shared)),
                 "l"(global), "r"(bytes), "r"(shared_address(b)), "h"(blocks)
                 : "memory");
}

/* This block's number in its cluster. */
DEVICE uint32_t cluster_rank(void) {
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
/* A barrier of all threads of the cluster. */
DEVICE void cluster_sync(void) {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::
                     : "memory");
}
#endif

#endif
