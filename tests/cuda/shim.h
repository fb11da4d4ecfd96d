/* The device on the host: what common/backend/cuda/device.h says of a GPU, for g++ and clang++, so
 * that every kernel is tested without one.
 *
 * Each thread of a block is a fiber (shim.cc). Blocks run one after another, but those of a cluster
 * together (they may use dynamic shared memory only), in an order that
 * CUDA_SHIM_SEED chooses, and so do the threads between two barriers. Shared memory is full of NaN
 * when a block begins. Bytes that copy_16 brings arrive at the copy_wait that covers them, those of
 * bulk_copy when a thread waits for the mbarrier, and sums of wgmma at their wgmma_wait, so that a
 * missing wait shows. A kernel that breaks a rule ends the
 * process with a line on stderr that begins with "shim:".
 *
 * Kernels have the ABI void(const void *): PARAM is a reference. Each is alone in a section of its
 * own, beside a record of its launch bounds, so that the runtime knows both from its address.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_CUDA_SHIM_H
#define TESTS_CUDA_SHIM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "backend/cuda/args.h"

#define __align__(n) __attribute__((aligned(n)))

struct uint2 {
    uint32_t x, y;
} __align__(8);
struct uint3 {
    uint32_t x, y, z;
};
struct uint4 {
    uint32_t x, y, z, w;
} __align__(16);
struct int2 {
    int x, y;
} __align__(8);
struct int4 {
    int x, y, z, w;
} __align__(16);
struct float2 {
    float x, y;
} __align__(8);
struct float4 {
    float x, y, z, w;
} __align__(16);

#define DEVICE __attribute__((unused)) static inline
#define SHIM_INLINE                                                                                \
    __attribute__((unused, always_inline)) static inline // a report names the caller's line
#define PARAM(type) const type &
#define UNROLL

DEVICE uint2 make_uint2(uint32_t x, uint32_t y) {
    return uint2{x, y};
}
DEVICE uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) {
    return uint4{x, y, z, w};
}
DEVICE int2 make_int2(int x, int y) {
    return int2{x, y};
}
DEVICE int4 make_int4(int x, int y, int z, int w) {
    return int4{x, y, z, w};
}
DEVICE float2 make_float2(float x, float y) {
    return float2{x, y};
}
DEVICE float4 make_float4(float x, float y, float z, float w) {
    return float4{x, y, z, w};
}

/* ---- kernels and where they run ---- */

struct shim_kernel { // one for each KERNEL, in section shim_kernels
    const char *begin, *end;
    uint32_t threads, blocks, cluster;
} __align__(32);

#define SHIM_HIDDEN __attribute__((visibility("hidden")))
#define SHIM_KERNEL(bounds, min_blocks, cluster, key)                                              \
    extern "C" {                                                                                   \
    extern const char __start_##key[] SHIM_HIDDEN, __stop_##key[] SHIM_HIDDEN;                     \
    }                                                                                              \
    static const struct shim_kernel shim_record_##key                                              \
        __attribute__((used, section("shim_kernels"))) = {__start_##key, __stop_##key, bounds,     \
                                                          min_blocks, cluster};                    \
    extern "C" __attribute__((section(#key), visibility("default"))) void
#define SHIM_KERNEL_KEY(threads, blocks, cluster, line, count)                                     \
    SHIM_KERNEL(threads, blocks, cluster, shim_kernel_##line##_##count)
#define SHIM_KERNEL_AT(threads, blocks, cluster, line, count)                                      \
    SHIM_KERNEL_KEY(threads, blocks, cluster, line, count)
#define KERNEL(threads, blocks)    SHIM_KERNEL_AT(threads, blocks, 1, __LINE__, __COUNTER__)
#define KERNEL_CLUSTER(threads, n) SHIM_KERNEL_AT(threads, 1, n, __LINE__, __COUNTER__)

/* Only inside functions. `used`: a value comes from outside of what the compiler sees. */
#define SHARED               static __attribute__((used, section("shim_shared")))
#define SHARED_DYNAMIC(name) unsigned char *const name = shim_dynamic

#pragma GCC visibility push(hidden)
extern "C" {

struct shim_place {
    struct uint3 thread, block;
};
extern const struct shim_place *shim_here; // of the thread that runs
extern struct uint3 shim_block_dim, shim_grid_dim;
extern unsigned char *shim_dynamic;

void shim_sync_threads(void);
void shim_sync_warp(uint32_t mask);
enum shim_shuffle { SHIM_XOR, SHIM_INDEX, SHIM_DOWN, SHIM_UP };
uint32_t shim_shuffle(uint32_t mask, uint32_t value, uint32_t lane, uint32_t width,
                      enum shim_shuffle which);
uint32_t shim_ballot(uint32_t mask, int predicate);
void shim_mma(int f16, float *d, const uint32_t a[4], const uint32_t b[2]);
void shim_mma_s8(int32_t *d, const uint32_t a[4], const uint32_t b[2], int half);
void shim_copy_16(void *shared, const void *global, int valid);
void shim_copy_commit(void);
void shim_copy_wait(uint32_t pending);
void shim_wgmma(uint32_t n, int f16, int add, float *acc, const uint32_t a[4], const void *b);
void shim_wgmma_fence(void);
void shim_wgmma_commit(void);
void shim_wgmma_wait(uint32_t pending);
void shim_fence_shared(void);
void shim_barrier_init(uint64_t *b, uint32_t arrivals);
void shim_barrier_arrive(uint64_t *b);
void shim_barrier_arrive_expect(uint64_t *b, uint32_t bytes);
void shim_barrier_wait(uint64_t *b, uint32_t parity);
void shim_bulk_copy(void *shared, const void *global, uint32_t bytes, uint64_t *b);
void shim_barrier_arrive_at(uint64_t *b, uint32_t rank);
void shim_bulk_copy_each(void *shared, const void *global, uint32_t bytes, uint64_t *b,
                         uint32_t blocks);
uint32_t shim_cluster_rank(void);
void shim_cluster_sync(void);
void shim_grid_wait(void);
uint32_t shim_count_up(uint32_t *counter);
void shim_check_global(const void *p,
                       size_t align); // aborts where p is not aligned, or is shared memory

/* For who launches: */
struct shim_launch {
    const char *name;
    void (*kernel)(const void *args);
    const void *args;
    struct uint3 grid, block;
    uint32_t dynamic;       // bytes of shared memory
    void (*before)(void *); // or NULL: what ends the kernels before this one, called once, at the
                            // first block's grid_wait
    void *before_arg;
};
const struct shim_kernel *shim_find_kernel(const void *kernel); // NULL: not a KERNEL
size_t shim_static_shared(void);                                // bytes, of all kernels together
void shim_run(const struct shim_launch *launch);                // one at a time
}
#pragma GCC visibility pop

#define threadIdx (shim_here->thread)
#define blockIdx  (shim_here->block)
#define blockDim  (*(const struct uint3 *)&shim_block_dim)
#define gridDim   (*(const struct uint3 *)&shim_grid_dim)

/* ---- barriers and what a warp does together ---- */

SHIM_INLINE void __syncthreads(void) {
    shim_sync_threads();
}
SHIM_INLINE void __syncwarp(uint32_t mask = 0xffffffff) {
    shim_sync_warp(mask);
}
DEVICE void __threadfence(void) {
}
DEVICE void __threadfence_block(void) {
}

DEVICE uint32_t __float_as_uint(float f) {
    uint32_t u;
    __builtin_memcpy(&u, &f, sizeof u);
    return u;
}
DEVICE float __uint_as_float(uint32_t u) {
    float f;
    __builtin_memcpy(&f, &u, sizeof f);
    return f;
}
DEVICE int __float_as_int(float f) {
    return (int)__float_as_uint(f);
}
DEVICE float __int_as_float(int i) {
    return __uint_as_float((uint32_t)i);
}

#define SHIM_SHUFFLE(name, which, lane_type)                                                       \
    SHIM_INLINE uint32_t name(uint32_t mask, uint32_t v, lane_type lane, int width = 32) {         \
        return shim_shuffle(mask, v, (uint32_t)lane, (uint32_t)width, which);                      \
    }                                                                                              \
    SHIM_INLINE int name(uint32_t mask, int v, lane_type lane, int width = 32) {                   \
        return (int)shim_shuffle(mask, (uint32_t)v, (uint32_t)lane, (uint32_t)width, which);       \
    }                                                                                              \
    SHIM_INLINE float name(uint32_t mask, float v, lane_type lane, int width = 32) {               \
        return __uint_as_float(                                                                    \
            shim_shuffle(mask, __float_as_uint(v), (uint32_t)lane, (uint32_t)width, which));       \
    }
SHIM_SHUFFLE(__shfl_xor_sync, SHIM_XOR, int)
SHIM_SHUFFLE(__shfl_sync, SHIM_INDEX, int)
SHIM_SHUFFLE(__shfl_down_sync, SHIM_DOWN, uint32_t)
SHIM_SHUFFLE(__shfl_up_sync, SHIM_UP, uint32_t)
SHIM_INLINE uint32_t __ballot_sync(uint32_t mask, int predicate) {
    return shim_ballot(mask, predicate);
}
SHIM_INLINE int __any_sync(uint32_t mask, int predicate) {
    return shim_ballot(mask, predicate) != 0;
}
SHIM_INLINE int __all_sync(uint32_t mask, int predicate) {
    return shim_ballot(mask, !predicate) == 0;
}

/* ---- arithmetic that is not in libm ---- */

DEVICE int min(int a, int b) {
    return a < b ? a : b;
}
DEVICE int max(int a, int b) {
    return a > b ? a : b;
}
DEVICE uint32_t min(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}
DEVICE uint32_t max(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}
DEVICE uint64_t min(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}
DEVICE uint64_t max(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}
DEVICE uint32_t min(uint32_t a, int b) {
    return min(a, (uint32_t)b);
}
DEVICE uint32_t max(uint32_t a, int b) {
    return max(a, (uint32_t)b);
}
DEVICE uint32_t min(int a, uint32_t b) {
    return min((uint32_t)a, b);
}
DEVICE uint32_t max(int a, uint32_t b) {
    return max((uint32_t)a, b);
}
DEVICE float rsqrtf(float x) { // of the GPU: within 2 ulp
    return (float)(1.0 / sqrt((double)x));
}
DEVICE float __fadd_rn(float a, float b) {
    return a + b;
}
DEVICE float __fmul_rn(float a, float b) {
    return a * b;
}
DEVICE float __fdiv_rn(float a, float b) {
    return a / b;
}
DEVICE float __fsqrt_rn(float a) {
    return sqrtf(a);
}
DEVICE int __popc(uint32_t x) {
    return __builtin_popcount(x);
}
DEVICE uint32_t __byte_perm(uint32_t a, uint32_t b, uint32_t which) {
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t r = 0;
    for (int i = 0; i < 4; i++)
        r |= (uint32_t)(bytes >> (which >> 4 * i & 7) * 8 & 0xff) << 8 * i;
    return r;
}
DEVICE int __ffs(int x) {
    return __builtin_ffs(x);
}
DEVICE int __clz(int x) {
    return x ? __builtin_clz((uint32_t)x) : 32;
}

/* ---- memory ---- */

template <typename type> SHIM_INLINE type __ldg(const type *p) {
    shim_check_global(p, alignof(type));
    return *p;
}
SHIM_INLINE uint2 load_once8(const void *p) {
    shim_check_global(p, 8);
    return *(const struct uint2 *)p;
}
SHIM_INLINE uint4 load_once16(const void *p) {
    shim_check_global(p, 16);
    return *(const struct uint4 *)p;
}
SHIM_INLINE void copy_16(void *shared, const void *global, bool valid) {
    shim_copy_16(shared, global, valid);
}
SHIM_INLINE void copy_commit(void) {
    shim_copy_commit();
}
#define copy_wait(pending) shim_copy_wait(pending)
SHIM_INLINE uint32_t count_up(uint32_t *counter) {
    return shim_count_up(counter);
}

/* common/backend/cuda/bulk.h */
SHIM_INLINE void fence_shared(void) {
    shim_fence_shared();
}
SHIM_INLINE void barrier_init(uint64_t *b, uint32_t arrivals) {
    shim_barrier_init(b, arrivals);
}
SHIM_INLINE void barriers_ready(void) {
    shim_fence_shared();
}
SHIM_INLINE void barrier_arrive(uint64_t *b) {
    shim_barrier_arrive(b);
}
SHIM_INLINE void barrier_arrive_expect(uint64_t *b, uint32_t bytes) {
    shim_barrier_arrive_expect(b, bytes);
}
SHIM_INLINE void barrier_wait(uint64_t *b, uint32_t parity) {
    shim_barrier_wait(b, parity);
}
SHIM_INLINE void bulk_copy(void *shared, const void *global, uint32_t bytes, uint64_t *b) {
    shim_bulk_copy(shared, global, bytes, b);
}

SHIM_INLINE void barrier_arrive_at(uint64_t *b, uint32_t rank) {
    shim_barrier_arrive_at(b, rank);
}
SHIM_INLINE void bulk_copy_each(void *shared, const void *global, uint32_t bytes, uint64_t *b,
                                uint16_t blocks) {
    shim_bulk_copy_each(shared, global, bytes, b, blocks);
}
SHIM_INLINE uint32_t cluster_rank(void) {
    return shim_cluster_rank();
}
SHIM_INLINE void cluster_sync(void) {
    shim_cluster_sync();
}

SHIM_INLINE void grid_wait(void) {
    shim_grid_wait();
}
DEVICE void grid_launch_next(void) {
}

/* ---- tensor cores ---- */

SHIM_INLINE void mma_bf16(float d[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                          uint32_t b0, uint32_t b1) {
    const uint32_t a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
    shim_mma(0, d, a, b);
}
SHIM_INLINE void mma_f16(float d[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                         uint32_t b0, uint32_t b1) {
    const uint32_t a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
    shim_mma(1, d, a, b);
}

SHIM_INLINE void mma_s8(int32_t d[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                        uint32_t b0, uint32_t b1) {
    const uint32_t a[4] = {a0, a1, a2, a3}, b[2] = {b0, b1};
    shim_mma_s8(d, a, b, 0);
}
SHIM_INLINE void mma_s8_half(int32_t d[4], uint32_t a0, uint32_t a1, uint32_t b0) {
    const uint32_t a[4] = {a0, a1, 0, 0}, b[2] = {b0, 0};
    shim_mma_s8(d, a, b, 1);
}

/* d [64, 128] (+)= a [64, 16] b [128, 16]^T, done at wgmma_wait: common/backend/cuda/wgmma.h.
 * Neither d nor a, a variable, may change before that. */
template <int TYPE>
SHIM_INLINE void wgmma_128(float d[64], const uint4 &a, const void *b, bool add) {
    shim_wgmma(128, TYPE == CU_F16, add, d, &a.x, b);
}
SHIM_INLINE void wgmma_fence(void) {
    shim_wgmma_fence();
}
SHIM_INLINE void wgmma_commit(void) {
    shim_wgmma_commit();
}
#define wgmma_wait(pending) shim_wgmma_wait(pending)
#define registers_more(n)
#define registers_fewer(n)

/* ---- bf16 and f16, to nearest even as cvt.rn does ---- */

DEVICE uint32_t shim_bf16(float f) {
    uint32_t u = __float_as_uint(f);
    return f != f ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
}
DEVICE uint32_t pack_bf16(float lo, float hi) {
    return shim_bf16(lo) | shim_bf16(hi) << 16;
}
DEVICE uint32_t shim_f16(float f) { // finite, at most 65504
    uint32_t u = __float_as_uint(f), sign = u >> 16 & 0x8000, mag = u & 0x7fffffff;
    if (mag < 0x38800000) { // subnormal in f16: adding 0.5 rounds at its last bit, 2^-24
        uint32_t r = __float_as_uint(__uint_as_float(mag) + 0.5f);
        return sign | (r - 0x3f000000);
    }
    return sign | (mag - 0x38000000 + 0xfff + (mag >> 13 & 1)) >> 13;
}
DEVICE uint32_t
pack_f16(float lo,
         float hi) { // out of range: the largest of f16; NaN: the smallest, as fmaxf has it
    lo = fminf(fmaxf(lo, -65504.0f), 65504.0f);
    hi = fminf(fmaxf(hi, -65504.0f), 65504.0f);
    return shim_f16(lo) | shim_f16(hi) << 16;
}
DEVICE float f32_of_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff;
    if (exponent == 31)
        return __uint_as_float(fraction ? 0x7fffffff : sign | 0x7f800000);
    if (exponent == 0)
        return __uint_as_float(sign | __float_as_uint((float)fraction * 0x1p-24f));
    return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
}

#endif
