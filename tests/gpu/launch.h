/* Shared by decode.cu and speed.cu: memory with pseudo-random values, and launches as the backend
 * makes them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_GPU_LAUNCH_H
#define TESTS_GPU_LAUNCH_H

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <cuda_runtime.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t e_ = (call);                                                                   \
        if (e_ != cudaSuccess) {                                                                   \
            printf("error %s: %s line %d\n", #call, cudaGetErrorString(e_), __LINE__);             \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

__device__ uint32_t hash(uint32_t h) {
    h ^= h >> 15;
    h *= 0x2c1b3c6du;
    h ^= h >> 12;
    h *= 0x297a2d39u;
    return h ^ h >> 15;
}
__device__ float value(size_t i, float scale, uint32_t seed) {
    return ((float)(hash((uint32_t)i * 2654435761u + seed) & 0xFFFF) / 65536.0f - 0.5f) * scale;
}
__global__ void fill_bf16(uint16_t *p, size_t n, float scale, uint32_t seed) {
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += step)
        p[i] = (uint16_t)(__float_as_uint(value(i, scale, seed)) >> 16);
}
__global__ void fill_f32(float *p, size_t n, float scale, float offset, uint32_t seed) {
    size_t step = (size_t)gridDim.x * blockDim.x;
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n; i += step)
        p[i] = value(i, scale, seed) + offset;
}
/* The stream of all launches, which main makes. */
static cudaStream_t stream;

/* Whether a kernel may begin before the one ahead of it in the stream has ended. */
static bool early_launches = true;

/* bytes of the GPU's memory, all zero. They are never freed. */
static void *take(size_t bytes) {
    void *p;
    CHECK(cudaMalloc(&p, bytes));
    CHECK(cudaMemset(p, 0, bytes));
    return p;
}
/* n BF16 values in [-scale / 2, scale / 2). */
static uint16_t *weights(size_t n, uint32_t seed, float scale = 0.07f) {
    uint16_t *p = (uint16_t *)take(2 * n);
    fill_bf16<<<1024, 256>>>(p, n, scale, seed);
    return p;
}
/* Launches kernel k with a, and `bytes` of dynamic shared memory for each block. */
template <class A>
static void launch(void (*k)(A), dim3 grid, unsigned threads, unsigned bytes, A a) {
    cudaLaunchConfig_t c = {};
    cudaLaunchAttribute early[1];
    early[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early[0].val.programmaticStreamSerializationAllowed = 1;
    c.gridDim = grid;
    c.blockDim = dim3(threads);
    c.dynamicSmemBytes = bytes;
    c.stream = stream;
    c.attrs = early;
    c.numAttrs = early_launches ? 1 : 0;
    CHECK(cudaLaunchKernelEx(&c, k, a));
}

#endif
