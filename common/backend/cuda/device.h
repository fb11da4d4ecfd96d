/* The instructions that the kernels use, in a plain C style that nvcc and g++ both compile. Under
 * nvcc they are instructions of the GPU. Under g++ (CUDA_SHIM) shim.h defines each for the host, so
 * that every kernel is tested without a GPU.
 *
 * nvcc contracts nothing (-fmad=false), so f32 arithmetic gives the same bits on both. Where one
 * rounding is wanted, the code calls fmaf.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_DEVICE_H
#define BACKEND_CUDA_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#include "backend/cuda/args.h"

/* Before a loop that must not be unrolled: code that runs once is read from memory as it runs. */
#ifdef CUDA_SHIM
#define ROLLED
#include "shim.h"
#else
#define ROLLED _Pragma("unroll 1")

#define KERNEL(threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks)
/* Blocks of a launch are in clusters of n. The grid is a multiple of n. */
#define KERNEL_CLUSTER(threads, n)                                                                 \
    extern "C" __global__ void __cluster_dims__(n, 1, 1) __launch_bounds__(threads, 1)
#define DEVICE               static __device__ __forceinline__
#define PARAM(type)          const __grid_constant__ type
#define UNROLL               _Pragma("unroll")
#define SHARED               __shared__
/* The dynamic shared memory of a launch, as bytes, 128-byte aligned. */
#define SHARED_DYNAMIC(name) extern __shared__ __align__(1024) unsigned char name[]

/* Programmatic dependent launch (sm_90 and later): a kernel may begin before the previous one has
 * ended. Every thread of every block calls grid_wait, and reads what earlier kernels wrote only
 * after it. Weights may be read before it. */
DEVICE void grid_wait(void) {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
DEVICE void grid_launch_next(void) {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

/* 8 or 16 bytes of weights, which are read once: past L1. */
DEVICE uint2 load_once8(const void *p) {
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(v.x), "=r"(v.y)
                 : "l"(p));
    return v;
}
DEVICE uint4 load_once16(const void *p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

/* d [16, 8] += a [16, 16] b [16, 8]. Lane l, g = l / 4, t = l % 4: a[0] has (g, 2t), (g, 2t + 1),
 * a[1] the same of row g + 8, a[2] and a[3] those of k + 8; b[0] has (k 2t, n g), (2t + 1, g), b[1]
 * those of k + 8; d has (g, 2t), (g, 2t + 1), then row g + 8. The lower k is the lower half of a
 * word. (PTX ISA, mma.m16n8k16.) */
DEVICE void mma_bf16(float d[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                     uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                 "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
DEVICE void mma_f16(float d[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                    uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/* d [16, 8] += a [16, 32] b [32, 8] in integers. Lane l, g = l / 4, t = l % 4: a0 has row g, k 4t
 * to 4t + 3, a1 the same of row g + 8, a2 and a3 those of k + 16; b0 has column g, k 4t to 4t + 3,
 * b1 those of k + 16. d is as in mma_bf16. The lowest k is the lowest byte. (PTX ISA,
 * mma.m16n8k32.) */
DEVICE void mma_s8(int32_t d[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                   uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                 "{%8,%9}, {%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
/* The first 16 k alone (mma.m16n8k16). */
DEVICE void mma_s8_half(int32_t d[4], uint32_t a0, uint32_t a1, uint32_t b0) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
                 "{%0,%1,%2,%3};"
                 : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
                 : "r"(a0), "r"(a1), "r"(b0));
}

/* Copies 16 bytes from global to shared memory asynchronously. This thread may read them after
 * copy_wait, others after a barrier too. If not valid: writes zeros. */
DEVICE void copy_16(void *shared, const void *global, bool valid) {
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}
DEVICE void copy_commit(void) {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
#define copy_wait(pending)                                                                         \
    asm volatile("cp.async.wait_group %0;" ::"n"(pending)                                          \
                 : "memory") // all but the last `pending` groups

/* f32 -> two rounded to nearest even in a word, lo in its lower half. */
DEVICE uint32_t pack_bf16(float lo, float hi) {
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
DEVICE uint32_t pack_f16(float lo, float hi) { // out of range: the largest of f16, not infinity
    lo = lo > 65504.0f ? 65504.0f : lo < -65504.0f ? -65504.0f : lo;
    hi = hi > 65504.0f ? 65504.0f : hi < -65504.0f ? -65504.0f : hi;
    uint32_t r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
DEVICE float f32_of_f16(uint16_t h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}

/* Adds one and returns the value before. Used to find the last block to finish, never in a sum. */
DEVICE uint32_t count_up(uint32_t *counter) {
    return atomicAdd(counter, 1u);
}

#endif // CUDA_SHIM

enum : uint32_t { ALL_LANES = 0xFFFFFFFFu };

DEVICE float f32_of_bf16(uint16_t h) {
    return __uint_as_float((uint32_t)h << 16);
}
/* Element i of an array of `type` (enum cu_type). */
DEVICE float load_as_f32(const void *p, uint32_t type, size_t i) {
    if (type == CU_F32)
        return ((const float *)p)[i];
    uint16_t h = ((const uint16_t *)p)[i];
    return type == CU_BF16 ? f32_of_bf16(h) : f32_of_f16(h);
}
DEVICE void store_as(void *p, uint32_t type, size_t i, float f) {
    if (type == CU_F32)
        ((float *)p)[i] = f;
    else
        ((uint16_t *)p)[i] = (uint16_t)(type == CU_BF16 ? pack_bf16(f, 0) : pack_f16(f, 0));
}
/* Element k of row `row` of activations: blocks of 2 bytes, or plain rows of f32. */
DEVICE void store_x(void *x, uint32_t type, uint32_t ld, uint32_t row, uint32_t k, float f) {
    store_as(x, type, type == CU_F32 ? (size_t)row * ld + k : cu_x_at(row, k, ld), f);
}
/* mma_bf16 or mma_f16, by the type. */
DEVICE void mma_of(uint32_t type, float d[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                   uint32_t b0, uint32_t b1) {
    if (type == CU_BF16)
        mma_bf16(d, a0, a1, a2, a3, b0, b1);
    else
        mma_f16(d, a0, a1, a2, a3, b0, b1);
}
DEVICE uint32_t pack_as(uint32_t type, float lo, float hi) {
    return type == CU_BF16 ? pack_bf16(lo, hi) : pack_f16(lo, hi);
}

#endif
