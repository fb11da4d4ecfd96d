/* Kernels that test the shim itself, right ones and such with a planted fault: shim_test.cc.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/bulk.h"
#include "backend/cuda/wgmma.h"
#include "selftest.h"

/* Each round every thread reads what another wrote in it. */
KERNEL(CU_THREADS, 1) test_barrier(PARAM(struct test_args) args) {
    SHARED uint32_t words[CU_THREADS];
    uint32_t me = threadIdx.x, n = blockDim.x, sum = 0;
    for (uint32_t i = 0; i < args.rounds; i++) {
        words[me] = i * n + me;
        __syncthreads();
        sum += words[(me + i + 1) % n];
        __syncthreads();
    }
    args.out[blockIdx.x * n + me] = sum;
}

/* Which number in the order a thread has: before and after a barrier. */
KERNEL(CU_THREADS, 1) test_order(PARAM(struct test_args) args) {
    uint32_t n = blockDim.x;
    args.out[2 + threadIdx.x] = count_up(&args.out[0]);
    if (args.rounds)
        __syncthreads();
    args.out[2 + n + threadIdx.x] = count_up(&args.out[1]);
}

KERNEL(64, 1) test_shuffle(PARAM(struct test_args) args) {
    uint32_t lane = threadIdx.x % 32, *out = args.out + threadIdx.x * 8;
    out[0] = __shfl_xor_sync(ALL_LANES, lane + 100, 5);
    out[1] = (uint32_t)__shfl_sync(ALL_LANES, (float)lane, 3, 8);
    out[2] = __shfl_down_sync(ALL_LANES, lane, 4);
    out[3] = __shfl_up_sync(ALL_LANES, lane, 4);
    out[4] = __ballot_sync(ALL_LANES, lane % 3 == 0);
    if (lane < 16)
        out[5] = __shfl_xor_sync(0xffff, lane, 1);
    else
        out[5] = __shfl_xor_sync(0xffff0000, lane, 2);
    __syncwarp();
    out[6] = __float_as_uint(lane ? 0 : __shfl_sync(1, 1.0f, 7)); // lane 7 is not there: NaN
    out[7] = (uint32_t)__shfl_sync(ALL_LANES, -(int)lane, 31);
}

/* Shared memory as a block finds it. */
KERNEL(CU_THREADS, 1) test_poison(PARAM(struct test_args) args) {
    SHARED float words[CU_THREADS];
    SHARED_DYNAMIC(bytes);
    float *dynamic = (float *)bytes;
    uint32_t me = threadIdx.x, *out = args.out + (blockIdx.x * blockDim.x + me) * 2;
    out[0] = __float_as_uint(words[me]);
    out[1] = __float_as_uint(dynamic[me]);
    words[me] = 1;
    dynamic[me] = 2;
}

KERNEL(32, 1) test_mma(PARAM(struct test_args) args) {
    uint32_t g = threadIdx.x / 4, t = threadIdx.x % 4;
    const uint32_t *a = (const uint32_t *)args.a, *b = (const uint32_t *)args.b;
    float d[4];
    for (uint32_t i = 0; i < 4; i++)
        d[i] = args.d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    mma_of(args.f16 ? CU_F16 : CU_BF16, d, a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4],
           a[(g + 8) * 8 + t + 4], b[g * 8 + t], b[g * 8 + t + 4]);
    for (uint32_t i = 0; i < 4; i++)
        args.d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

/* d [64, 128] += a [64, 32] b [128, 32]^T, k 16 a step, with b where a tile has its second and
 * third step.
 */
KERNEL(128, 1) test_wgmma(PARAM(struct test_args) args) {
    SHARED_DYNAMIC(tile);
    uint32_t me = threadIdx.x, g = me % 32 / 4 + me / 32 * 16, t = me % 4;
    const uint32_t *a = (const uint32_t *)args.a + g * 16 + t;
    float d[64];
    uint4 w[2];
    for (uint32_t i = 0; i < 2; i++)
        w[i] = make_uint4(a[8 * i], a[8 * i + 8 * 16], a[8 * i + 4], a[8 * i + 8 * 16 + 4]);
    for (uint32_t i = 0; i < 64; i++)
        d[i] = args.d[(g + i % 4 / 2 * 8) * 128 + i / 4 * 8 + 2 * t + i % 2];
    for (uint32_t i = me; i < 128 * 32; i += 128) {
        uint32_t row = i / 32, k = 16 + i % 32;
        *(uint16_t *)(tile + row * 128 + ((k / 8) ^ (row & 7)) * 16 + k % 8 * 2) = args.b[i];
    }
    if (args.which != WGMMA_NO_FENCE_SHARED)
        fence_shared();
    __syncthreads();
    if (args.which != WGMMA_NO_FENCE)
        wgmma_fence();
    wgmma_128<CU_BF16>(d, w[0], tile + 32, true);
    wgmma_128<CU_BF16>(d, w[1], tile + 64, true);
    wgmma_commit();
    if (args.which == WGMMA_OVERWRITTEN && me == 0)
        ((uint16_t *)tile)[16] = 0;
    if (args.which == WGMMA_REGISTERS)
        w[1].y++;
    if (args.which != WGMMA_NO_WAIT)
        wgmma_wait(0);
    for (uint32_t i = 0; i < 64; i++)
        args.d[(g + i % 4 / 2 * 8) * 128 + i / 4 * 8 + 2 * t + i % 2] = d[i];
}

/* Sums of rows of 1024 bytes, which arrive two rows ahead. */
KERNEL(64, 1) test_copy(PARAM(struct test_args) args) {
    SHARED_DYNAMIC(bytes);
    uint32_t me = threadIdx.x, sum = 0;
    for (uint32_t i = 0; i < args.rounds + 2; i++) {
        if (i < args.rounds)
            copy_16(bytes + i % 4 * 1024 + me * 16, (const char *)args.in + i * 1024 + me * 16,
                    true);
        copy_commit();
        if (i < 2)
            continue;
        copy_wait(2);
        __syncthreads();
        const uint32_t *row = (const uint32_t *)(bytes + (i - 2) % 4 * 1024);
        for (uint32_t k = 0; k < 4; k++)
            sum += row[(me * 4 + k + 100) % 256];
    }
    args.out[me] = sum;
}

/* The same by bulk copies, three rows ahead. The first warp copies, the second adds. */
KERNEL(64, 1) test_bulk(PARAM(struct test_args) args) {
    enum { STAGES = 3 };
    SHARED uint64_t full[STAGES], empty[STAGES];
    SHARED_DYNAMIC(bytes);
    uint32_t lane = threadIdx.x % 32, sum = 0;
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < STAGES; i++) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], 32);
        }
        if (args.which != BULK_NOT_READY)
            barriers_ready();
    }
    if (args.which != BULK_NO_SYNC)
        __syncthreads();
    for (uint32_t i = 0; i < args.rounds; i++) {
        uint32_t s = i % STAGES, turn = i / STAGES;
        unsigned char *stage = bytes + s * 1024;
        if (threadIdx.x == 0) {
            const unsigned char *from = (const unsigned char *)args.in + i * 1024;
            if (args.which != BULK_OVERWRITTEN)
                barrier_wait(&empty[s], (turn + 1) & 1);
            barrier_arrive_expect(&full[s], args.which == BULK_FEWER ? 1008 : 1024);
            bulk_copy(stage, from, 512, &full[s]);
            bulk_copy(stage + 512, from + 512, 512, &full[s]);
        }
        if (args.which == BULK_NO_WAIT) // the copy has begun
            __syncthreads();
        if (threadIdx.x >= 32 && args.which != BULK_LEFT) {
            if (args.which != BULK_NO_WAIT)
                barrier_wait(&full[s], turn & 1);
            for (uint32_t k = 0; k < 8; k++)
                sum += ((const uint32_t *)stage)[(lane * 8 + k + 100) % 256];
            barrier_arrive(&empty[s]);
        }
    }
    args.out[threadIdx.x] = sum;
}

/* Speed: barriers, shuffles, products. */
KERNEL(CU_THREADS, 1) test_speed(PARAM(struct test_args) args) {
    float x = (float)threadIdx.x;
    float d[4] = {0, 0, 0, 0};
    for (uint32_t i = 0; i < args.rounds; i++)
        if (args.which == 0)
            __syncthreads();
        else if (args.which == 1)
            x += __shfl_xor_sync(ALL_LANES, x, 1);
        else
            mma_bf16(d, 0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80);
    args.out[threadIdx.x] = __float_as_uint(x + d[0]);
}

/* The kernel before it writes out; this one reads that after grid_wait. */
KERNEL(64, 1) test_first(PARAM(struct test_args) args) {
    SHARED uint32_t words[64];
    words[threadIdx.x] = args.which + threadIdx.x;
    __syncthreads();
    args.out[blockIdx.x * 64 + threadIdx.x] = words[63 - threadIdx.x];
}
KERNEL(64, 1) test_next(PARAM(struct test_args) args) {
    SHARED uint32_t words[64];
    words[threadIdx.x] = args.which ? args.out[threadIdx.x] : 0; // which: too early
    grid_wait();
    words[threadIdx.x] += args.out[blockIdx.x * 64 + threadIdx.x];
    __syncthreads();
    args.out[blockIdx.x * 64 + threadIdx.x] = words[63 - threadIdx.x] + 1;
}

KERNEL(64, 1) test_fault(PARAM(struct test_args) args) {
    SHARED uint32_t words[64];
    SHARED_DYNAMIC(bytes);
    uint32_t me = threadIdx.x;
    uint16_t *halves = (uint16_t *)words;
    switch (args.which) {
    case FAULT_NONE: // what looks like one and is none
        halves[me] = (uint16_t)me;
        __syncwarp();
        args.out[me] = halves[me ^ 1];
        __syncthreads();
        words[me] = me;
        if (me < 32) {
            __syncwarp();
            args.out[me] += words[31 - me];
            __syncwarp();
            words[31 - me] = 1;
        }
        __syncthreads();
        args.out[me] += words[63 - me] + words[0];
        break;
    case FAULT_RACE_WRITE_READ:
        words[me] = me;
        args.out[me] = words[63 - me];
        break;
    case FAULT_RACE_READ_WRITE:
        words[me] = me;
        __syncthreads();
        args.out[me] = words[me];
        args.out[me] += words[(me + 33) % 64];
        words[me] = 0;
        break;
    case FAULT_RACE_HALVES:
        halves[me % 63] = (uint16_t)me;
        break;
    case FAULT_RACE_WARP:
        words[me] = me;
        args.out[me] = words[me ^ 1];
        break;
    case FAULT_COPY_WAIT:
        copy_16(bytes + me * 16, (const char *)args.in + me * 16, true);
        copy_commit();
        args.out[me] = *(const uint32_t *)(bytes + me * 16);
        break;
    case FAULT_COPY_GROUP:
        copy_16(bytes + me * 16, (const char *)args.in + me * 16, true);
        copy_commit();
        copy_wait(1);
        __syncthreads();
        args.out[me] = *(const uint32_t *)(bytes + me * 16);
        break;
    case FAULT_COPY_BARRIER:
        copy_16(bytes + me * 16, (const char *)args.in + me * 16, true);
        copy_commit();
        copy_wait(0);
        args.out[me] = *(const uint32_t *)(bytes + (63 - me) * 16);
        break;
    case FAULT_COPY_ALIGNMENT:
        copy_16(bytes + me * 16, (const char *)args.in + me * 16 + 4, true);
        break;
    case FAULT_DEADLOCK:
        if (me != 5)
            __syncthreads();
        break;
    case FAULT_DEADLOCK_WARP:
        if (me != 40)
            __syncwarp();
        else
            __syncthreads();
        break;
    case FAULT_MASK:
        __syncwarp(0xff);
        break;
    case FAULT_DYNAMIC_END:
        bytes[16 * 64 + me] = 0;
        break;
    case FAULT_GLOBAL_END:
        args.out[me + 1] = 1;
        break;
    case FAULT_ALIGNMENT:
        args.out[me] = load_once8((const char *)args.in + 4 * me).x;
        break;
    case FAULT_LOAD_SHARED:
        words[me] = me;
        args.out[me] = __ldg(&words[me]);
        break;
    case FAULT_GRID_WAIT:
        if (me < 32)
            grid_wait();
        break;
    }
}
