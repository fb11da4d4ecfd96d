/* Questions that only a real GPU (sm_90a) answers: do mma.sync and wgmma give the same bits, which
 * sum do they compute, and what are the limits that our kernels are measured against.
 *
 *     nvcc -O3 -std=c++17 -gencode arch=compute_90a,code=sm_90a -o bits tests/gpu/bits.cu
 *     ./bits [bits] [model] [limits]
 *
 * Output: lines `name value unit`. Three parts; with no argument, all:
 *   bits    D = A B^T summed 16 k at a time into one f32, by every instruction that could compute
 *           it, compared bit for bit.
 *   model   single mma results against a model on the host, over the ways in which it could
 *           truncate.
 *   limits  read and copy bandwidth, launch gaps, copies to the host, wake-up.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cuda_runtime.h>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t e_ = (call);                                                                   \
        if (e_ != cudaSuccess) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e_)); \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static double now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}
static int cmp_double(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, cmp_double);
    return v[n / 2];
}
static void put(const char *name, double value, const char *unit) {
    printf("%-46s %.6g %s\n", name, value, unit);
    fflush(stdout);
}

// ---------------------------------------------------------------- inputs

/* A random word of (seed, i): splitmix64. */
__host__ __device__ static inline uint64_t mixed(uint64_t seed, uint64_t i) {
    uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15ull + i * 0xd1342543de82ef95ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
__host__ __device__ static inline float uniform(uint64_t r) { // [0, 1)
    return (float)(r >> 40) * 0x1p-24f;
}

enum { NORMAL, WIDE, CANCEL, TINY, N_SETS };
static const char *const set_names[] = {"normal", "wide", "cancel", "tiny"};

/* f32 -> the 16-bit type, to nearest even. No NaN, no overflow here. */
__host__ __device__ static inline uint16_t bf16_of(float f) {
    union {
        float f;
        uint32_t u;
    } v = {f};
    return (uint16_t)((v.u + 0x7fff + (v.u >> 16 & 1)) >> 16);
}
__host__ __device__ static inline uint16_t f16_of(float f) {
    union {
        float f;
        uint32_t u;
    } v = {f};
    uint32_t sign = v.u >> 16 & 0x8000, a = v.u & 0x7fffffff;
    if (a >= 0x477ff000) // 65520: would round to infinity
        return (uint16_t)(sign | 0x7bff);
    if (a < 0x38800000) { // below 2^-14: a multiple of 2^-24
        union {
            uint32_t u;
            float f;
        } w = {a};
        return (uint16_t)(sign | (uint32_t)rintf(w.f * 0x1p24f));
    }
    return (uint16_t)(sign | (((a + 0xfff + (a >> 13 & 1)) >> 13) - (112 << 10)));
}

/* Element k of row `row` of operand `which` (0: A, 1: B) of a set. f16 has fewer exponents, so its
 * ranges are narrower. */
__host__ __device__ static inline uint16_t element(int set, bool f16, int which, uint64_t seed,
                                                   int row, int k, int n_k) {
    uint64_t base = seed * 4 + (uint64_t)which * 2;
    uint64_t r = mixed(base, (uint64_t)row << 20 | (uint64_t)k),
             r2 = mixed(base + 1, (uint64_t)row << 20 | (uint64_t)k);
    float sign = (r & 1) ? -1.0f : 1.0f, v;
    switch (set) {
    case NORMAL: {
        float s = 0; // the sum of 4 uniforms, near enough
        for (int i = 0; i < 4; i++)
            s += (float)(r2 >> (16 * i) & 0xffff) * 0x1p-16f - 0.5f;
        v = s * 1.732f * (which ? 1.0f : 0.02f);
        break;
    }
    case WIDE:
        v = (r2 % 97 == 0) ? 0.0f
                           : sign * (1.0f + uniform(r)) *
                                 exp2f((float)((int)(r2 >> 8 & 63) - 32) * (f16 ? 0.3f : 0.6f));
        break;
    case CANCEL: {
        /* A repeats with its sign turned after 1, 16 or half of k; B is nearly constant. */
        int distance = row % 3 == 0 ? 1 : row % 3 == 1 ? 16 : n_k / 2;
        int first = k - (k / distance % 2) * distance;
        uint64_t q = mixed(base, (uint64_t)row << 20 | (uint64_t)first);
        float x =
            ((q & 1) ? -1.0f : 1.0f) * (1.0f + uniform(q)) * exp2f((float)((int)(q >> 8 & 15) - 8));
        v = which ? 1.0f + uniform(r) * 0.05f : first == k ? x : -x;
        break;
    }
    default: // products near f32's subnormals (bf16), operands that are subnormal (f16)
        v = sign * (1.0f + uniform(r)) *
            exp2f(f16 ? -8.0f - (float)(r2 & 15) : -62.0f - (float)(r2 & 15) * 0.5f);
    }
    return f16 ? f16_of(v) : bf16_of(v);
}

__global__ void fill_set(uint16_t *out, int set, bool f16, int which, uint64_t seed, int n_rows,
                         int n_k) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < (size_t)n_rows * n_k;
         i += (size_t)gridDim.x * blockDim.x)
        out[i] = element(set, f16, which, seed, (int)(i / n_k), (int)(i % n_k), n_k);
}
/* Row r of `to` is row (r * 389 + 17) % n_rows of `from` (n_rows a power of 2). */
__host__ __device__ static inline int moved(int r, int n_rows) {
    return (r * 389 + 17) & (n_rows - 1);
}
__global__ void move_rows(uint16_t *to, const uint16_t *from, int n_rows, int n_k) {
    const uint16_t *f = from + (size_t)moved(blockIdx.x, n_rows) * n_k;
    for (int k = threadIdx.x; k < n_k; k += blockDim.x)
        to[(size_t)blockIdx.x * n_k + k] = f[k];
}

// ---------------------------------------------------------------- instructions

template <bool F16>
__device__ __forceinline__ void mma16(float d[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                      uint32_t a3, uint32_t b0, uint32_t b1) {
    if (F16)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
                     "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
                     "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
template <bool F16>
__device__ __forceinline__ void mma8(float d[4], uint32_t a0, uint32_t a1, uint32_t b0) {
    if (F16)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, "
                     "{%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a0), "r"(a1), "r"(b0));
    else
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, "
                     "{%6}, {%0,%1,%2,%3};"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "r"(a0), "r"(a1), "r"(b0));
}

#define D4(i) "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3])
#define LIST4 "%0, %1, %2, %3"
#define OPS4  D4(0)
#define LIST32                                                                                     \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, "                                                                              \
    "%23, %24, %25, %26, %27, %28, %29, %30, %31"
#define OPS32 D4(0), D4(4), D4(8), D4(12), D4(16), D4(20), D4(24), D4(28)
#define LIST64                                                                                     \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, "                                                                              \
    "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, "   \
    "%41, %42, %43, "                                                                              \
    "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "   \
    "%62, %63"
#define OPS64                                                                                      \
    D4(0), D4(4), D4(8), D4(12), D4(16), D4(20), D4(24), D4(28), D4(32), D4(36), D4(40), D4(44),   \
        D4(48), D4(52), D4(56), D4(60)
#define LIST128                                                                                    \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "   \
    "%20, %21, %22, "                                                                              \
    "%23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, "   \
    "%41, %42, %43, "                                                                              \
    "%44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "   \
    "%62, %63, %64, "                                                                              \
    "%65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, "   \
    "%83, %84, %85, "                                                                              \
    "%86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, "     \
    "%103, %104, %105, "                                                                           \
    "%106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, "   \
    "%121, %122, %123, "                                                                           \
    "%124, %125, %126, %127"
#define OPS128                                                                                     \
    D4(0), D4(4), D4(8), D4(12), D4(16), D4(20), D4(24), D4(28), D4(32), D4(36), D4(40), D4(44),   \
        D4(48), D4(52), D4(56), D4(60), D4(64), D4(68), D4(72), D4(76), D4(80), D4(84), D4(88),    \
        D4(92), D4(96), D4(100), D4(104), D4(108), D4(112), D4(116), D4(120), D4(124)
/* One wgmma of m64, n, k16; A and B are shared-memory descriptors, or A is in registers. */
#define WGMMA_SS(n, type, list, ops, da, db)                                                       \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." #type "." #type " {" list       \
                 "}, %" da ", %" db ", 1, 1, 1, 0, 0;"                                             \
                 : ops                                                                             \
                 : "l"(desc_a), "l"(desc_b))
#define WGMMA_RS(n, type, list, ops, a0, a1, a2, a3, db)                                           \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #n "k16.f32." #type "." #type " {" list       \
                 "}, {%" a0 ", %" a1 ", %" a2 ", %" a3 "}, %" db ", 1, 1, 1, 0;"                   \
                 : ops                                                                             \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(desc_b))

template <bool F16, int N>
__device__ __forceinline__ void wgmma_ss(float *d, uint64_t desc_a, uint64_t desc_b) {
    if (F16) {
        if (N == 8)
            WGMMA_SS(8, f16, LIST4, OPS4, "4", "5");
        if constexpr (N == 64)
            WGMMA_SS(64, f16, LIST32, OPS32, "32", "33");
        if constexpr (N == 128)
            WGMMA_SS(128, f16, LIST64, OPS64, "64", "65");
        if constexpr (N == 256)
            WGMMA_SS(256, f16, LIST128, OPS128, "128", "129");
    } else {
        if (N == 8)
            WGMMA_SS(8, bf16, LIST4, OPS4, "4", "5");
        if constexpr (N == 64)
            WGMMA_SS(64, bf16, LIST32, OPS32, "32", "33");
        if constexpr (N == 128)
            WGMMA_SS(128, bf16, LIST64, OPS64, "64", "65");
        if constexpr (N == 256)
            WGMMA_SS(256, bf16, LIST128, OPS128, "128", "129");
    }
}
template <bool F16>
__device__ __forceinline__ void wgmma_rs64(float *d, const uint32_t a[4], uint64_t desc_b) {
    if (F16)
        WGMMA_RS(64, f16, LIST32, OPS32, "32", "33", "34", "35", "36");
    else
        WGMMA_RS(64, bf16, LIST32, OPS32, "32", "33", "34", "35", "36");
}

// ---------------------------------------------------------------- D [m, n] = A [m, k] B [n, k]^T

enum mode { NATURAL, PERMUTED, HALVES, SWAPPED };

/* A warp an m16 n8 tile. PERMUTED: lane t's four k are 4 t .. 4 t + 3. HALVES: two m16n8k8.
 * SWAPPED: B's rows as the operand A. */
template <bool F16, int MODE>
__global__ void __launch_bounds__(256)
    by_mma(float *out, const uint16_t *a_, const uint16_t *b_, int n_cols, int n_k) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    int m0 = (blockIdx.y * 8 + threadIdx.x / 32) * 16, n0 = blockIdx.x * 8;
    const uint16_t *a = (MODE == SWAPPED ? b_ : a_), *b = (MODE == SWAPPED ? a_ : b_);
    const uint16_t *ra = a + (size_t)(m0 + g) * n_k, *rb = a + (size_t)(m0 + g + 8) * n_k,
                   *rx = b + (size_t)(n0 + g) * n_k;
    float d[4] = {0, 0, 0, 0};
    for (int k = 0; k < n_k; k += 16) {
        int lo = MODE == PERMUTED ? k + 4 * t : k + 2 * t, hi = MODE == PERMUTED ? lo + 2 : lo + 8;
        uint32_t a0 = *(const uint32_t *)(ra + lo), a1 = *(const uint32_t *)(rb + lo);
        uint32_t a2 = *(const uint32_t *)(ra + hi), a3 = *(const uint32_t *)(rb + hi);
        uint32_t b0 = *(const uint32_t *)(rx + lo), b1 = *(const uint32_t *)(rx + hi);
        if (MODE == HALVES) {
            mma8<F16>(d, a0, a1, b0);
            mma8<F16>(d, a2, a3, b1);
        } else {
            mma16<F16>(d, a0, a1, a2, a3, b0, b1);
        }
    }
    for (int i = 0; i < 4; i++) {
        int m = m0 + g + i / 2 * 8, n = n0 + 2 * t + i % 2;
        if (MODE == SWAPPED)
            out[(size_t)n * n_cols + m] = d[i];
        else
            out[(size_t)m * n_cols + n] = d[i];
    }
}

/* K-major, rows of 128 bytes, 128-byte swizzle: groups of 8 rows are 1,024 bytes apart. */
__device__ __forceinline__ uint64_t descriptor(const void *shared) {
    uint64_t at = __cvta_generic_to_shared(shared);
    return (at & 0x3ffff) >> 4 | 1ull << 16 | 64ull << 32 | 1ull << 62;
}
/* 64 k of n rows, swizzled: 16-byte piece c of row r is stored as piece c ^ (r % 8). */
__device__ __forceinline__ void stage(unsigned char *shared, const uint16_t *rows, int n, int n_k) {
    for (int i = threadIdx.x; i < n * 8; i += 128) {
        int r = i / 8, c = i % 8;
        *(uint4 *)(shared + r * 128 + (c ^ (r & 7)) * 16) =
            *(const uint4 *)(rows + (size_t)r * n_k + c * 8);
    }
}
/* A warpgroup an m64 nN tile. REGS: A from registers (N = 64 only). */
template <bool F16, int N, bool REGS>
__global__ void __launch_bounds__(128)
    by_wgmma(float *out, const uint16_t *a, const uint16_t *b, int n_cols, int n_k) {
    __shared__ __align__(1024) unsigned char sa[64 * 128], sb[N * 128];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    int m0 = blockIdx.y * 64, n0 = blockIdx.x * N;
    const uint16_t *ra = a + (size_t)(m0 + warp * 16 + g) * n_k, *rb = ra + (size_t)8 * n_k;
    float d[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; i++)
        d[i] = 0;
    for (int k = 0; k < n_k; k += 64) {
        uint32_t regs[4][4];
        stage(sa, a + (size_t)m0 * n_k + k, 64, n_k);
        stage(sb, b + (size_t)n0 * n_k + k, N, n_k);
        if (REGS) {
#pragma unroll
            for (int j = 0; j < 4; j++) {
                regs[j][0] = *(const uint32_t *)(ra + k + 16 * j + 2 * t);
                regs[j][1] = *(const uint32_t *)(rb + k + 16 * j + 2 * t);
                regs[j][2] = *(const uint32_t *)(ra + k + 16 * j + 2 * t + 8);
                regs[j][3] = *(const uint32_t *)(rb + k + 16 * j + 2 * t + 8);
            }
        }
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        __syncthreads();
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int j = 0; j < 4; j++) {
            if constexpr (REGS)
                wgmma_rs64<F16>(d, regs[j], descriptor(sb + 32 * j));
            else
                wgmma_ss<F16, N>(d, descriptor(sa + 32 * j), descriptor(sb + 32 * j));
        }
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < N / 2; i++) {
        int m = m0 + warp * 16 + g + (i / 2 % 2) * 8, n = n0 + i / 4 * 8 + 2 * t + i % 2;
        out[(size_t)m * n_cols + n] = d[i];
    }
}

// ---------------------------------------------------------------- part 1: bits

struct difference {
    unsigned long long compared, differ;
    unsigned max_ulp, nan;
};
__device__ static long long place(uint32_t u) { // floats in order
    return (u & 0x80000000u) ? -(long long)(u & 0x7fffffffu) : (long long)u;
}
/* x against y; with `moves`, x's row and column r against y's moved(r). */
__global__ void compare(difference *out, const float *x, const float *y, int n_rows, int n_cols,
                        bool moves) {
    unsigned long long differ = 0;
    unsigned worst = 0, nan = 0;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n_rows * n_cols;
         i += gridDim.x * blockDim.x) {
        int r = i / n_cols, c = i % n_cols;
        uint32_t u = __float_as_uint(x[i]);
        uint32_t v =
            __float_as_uint(moves ? y[(size_t)moved(r, n_rows) * n_cols + moved(c, n_cols)] : y[i]);
        nan += (u & 0x7fffffff) > 0x7f800000 || (v & 0x7fffffff) > 0x7f800000;
        if (u != v) {
            long long ulps = llabs(place(u) - place(v));
            unsigned capped = ulps > 0x7fffffff ? 0x7fffffff : (unsigned)ulps;
            worst = max(worst, capped);
            differ++;
        }
    }
    atomicAdd(&out->differ, differ);
    atomicAdd(&out->nan, nan);
    atomicMax(&out->max_ulp, worst);
}

enum { SIDE = 1024, MAX_K = 14336 };
enum {
    MMA,
    MMA_PERMUTED,
    MMA_HALVES,
    MMA_SWAPPED,
    WGMMA8,
    WGMMA64,
    WGMMA128,
    WGMMA256,
    WGMMA_REGS,
    N_WAYS
};
static const char *const way_names[] = {"mma",         "mma_k_permuted", "mma_k8_k8",
                                        "mma_swapped", "wgmma_n8",       "wgmma_n64",
                                        "wgmma_n128",  "wgmma_n256",     "wgmma_a_regs"};

template <bool F16>
static void multiply(int way, float *out, const uint16_t *a, const uint16_t *b, int n_k) {
    dim3 grid(SIDE / 8, SIDE / 128);
    switch (way) {
    case MMA:
        by_mma<F16, NATURAL><<<grid, 256>>>(out, a, b, SIDE, n_k);
        break;
    case MMA_PERMUTED:
        by_mma<F16, PERMUTED><<<grid, 256>>>(out, a, b, SIDE, n_k);
        break;
    case MMA_HALVES:
        by_mma<F16, HALVES><<<grid, 256>>>(out, a, b, SIDE, n_k);
        break;
    case MMA_SWAPPED:
        by_mma<F16, SWAPPED><<<grid, 256>>>(out, a, b, SIDE, n_k);
        break;
    case WGMMA8:
        by_wgmma<F16, 8, false><<<dim3(SIDE / 8, SIDE / 64), 128>>>(out, a, b, SIDE, n_k);
        break;
    case WGMMA64:
        by_wgmma<F16, 64, false><<<dim3(SIDE / 64, SIDE / 64), 128>>>(out, a, b, SIDE, n_k);
        break;
    case WGMMA128:
        by_wgmma<F16, 128, false><<<dim3(SIDE / 128, SIDE / 64), 128>>>(out, a, b, SIDE, n_k);
        break;
    case WGMMA256:
        by_wgmma<F16, 256, false><<<dim3(SIDE / 256, SIDE / 64), 128>>>(out, a, b, SIDE, n_k);
        break;
    default:
        by_wgmma<F16, 64, true><<<dim3(SIDE / 64, SIDE / 64), 128>>>(out, a, b, SIDE, n_k);
        break;
    }
    CHECK(cudaGetLastError());
}

static void add(difference *sum, const difference *d) {
    sum->compared += (unsigned long long)SIDE * SIDE;
    sum->differ += d->differ;
    sum->nan += d->nan;
    if (d->max_ulp > sum->max_ulp)
        sum->max_ulp = d->max_ulp;
}
static void put_difference(const char *type, const char *pair, const difference *d) {
    char name[96];
    snprintf(name, sizeof name, "bits.%s.%s.compared", type, pair);
    put(name, (double)d->compared, "dots");
    snprintf(name, sizeof name, "bits.%s.%s.differ", type, pair);
    put(name, (double)d->differ, "dots");
    snprintf(name, sizeof name, "bits.%s.%s.max", type, pair);
    put(name, d->max_ulp, "ulp");
    if (d->nan) {
        snprintf(name, sizeof name, "bits.%s.%s.nan", type, pair);
        put(name, d->nan, "dots");
    }
}

template <bool F16> static void bits(void) {
    static const int ks[] = {2048, 5632, 14336};
    const char *type = F16 ? "f16" : "bf16";
    uint16_t *a, *b, *a_moved, *b_moved;
    float *base, *out;
    difference *d, host, sums[N_WAYS], sums_moved[N_WAYS];
    memset(sums, 0, sizeof sums);
    memset(sums_moved, 0, sizeof sums_moved);
    size_t bytes = (size_t)SIDE * MAX_K * 2;
    CHECK(cudaMalloc(&a, bytes));
    CHECK(cudaMalloc(&b, bytes));
    CHECK(cudaMalloc(&a_moved, bytes));
    CHECK(cudaMalloc(&b_moved, bytes));
    CHECK(cudaMalloc(&base, (size_t)SIDE * SIDE * 4));
    CHECK(cudaMalloc(&out, (size_t)SIDE * SIDE * 4));
    CHECK(cudaMalloc(&d, sizeof *d));
    for (int i = 0; i < 3; i++)
        for (int set = 0; set < N_SETS; set++) {
            int n_k = ks[i];
            fill_set<<<1056, 256>>>(a, set, F16, 0, 7 + i, SIDE, n_k);
            fill_set<<<1056, 256>>>(b, set, F16, 1, 7 + i, SIDE, n_k);
            move_rows<<<SIDE, 256>>>(a_moved, a, SIDE, n_k);
            move_rows<<<SIDE, 256>>>(b_moved, b, SIDE, n_k);
            multiply<F16>(MMA, base, a, b, n_k);
            for (int way = 0; way < N_WAYS; way++)
                for (int moves = 0; moves < 2; moves++) {
                    if (way == MMA && !moves)
                        continue;
                    CHECK(cudaMemset(out, 0xff, (size_t)SIDE * SIDE * 4));
                    CHECK(cudaMemset(d, 0, sizeof *d));
                    multiply<F16>(way, out, moves ? a_moved : a, moves ? b_moved : b, n_k);
                    if (moves && way != MMA) { // against itself unmoved
                        float *own;
                        CHECK(cudaMalloc(&own, (size_t)SIDE * SIDE * 4));
                        multiply<F16>(way, own, a, b, n_k);
                        compare<<<264, 256>>>(d, out, own, SIDE, SIDE, true);
                        CHECK(cudaDeviceSynchronize());
                        CHECK(cudaFree(own));
                    } else {
                        compare<<<264, 256>>>(d, out, base, SIDE, SIDE, moves != 0);
                    }
                    CHECK(cudaMemcpy(&host, d, sizeof host, cudaMemcpyDeviceToHost));
                    add(moves ? &sums_moved[way] : &sums[way], &host);
                    if (host.differ || host.nan)
                        printf(
                            "# %s k %d %s: %s%s differs in %llu of %d dots, up to %u ulp, %u nan\n",
                            type, n_k, set_names[set], way_names[way],
                            moves ? " with rows and columns moved" : " from mma", host.differ,
                            SIDE * SIDE, host.max_ulp, host.nan);
                }
        }
    for (int way = 1; way < N_WAYS; way++) {
        char pair[64];
        snprintf(pair, sizeof pair, "mma=%s", way_names[way]);
        put_difference(type, pair, &sums[way]);
    }
    for (int way = 0; way < N_WAYS; way++) {
        char pair[64];
        snprintf(pair, sizeof pair, "%s=moved", way_names[way]);
        put_difference(type, pair, &sums_moved[way]);
    }
    CHECK(cudaFree(a));
    CHECK(cudaFree(b));
    CHECK(cudaFree(a_moved));
    CHECK(cudaFree(b_moved));
    CHECK(cudaFree(base));
    CHECK(cudaFree(out));
    CHECK(cudaFree(d));
}

// ---------------------------------------------------------------- part 2: the model

struct rule {
    int fraction;   // bits kept below the largest exponent
    int group;      // products summed at once
    int normalised; // a product's exponent is its own, else the sum of its factors'
    int floors;     // aligning rounds down, else toward zero
    int final;      // 0 toward zero, 1 to nearest even, 2 down
    int zeros;      // a product of zero has an exponent too
};
struct number {
    int sign, e;
    int64_t m; // value: m * 2^e
};

static float rounded_from(double d, int how) {
    float f = (float)d;
    union {
        float f;
        uint32_t u;
    } v = {f};
    if (how == 0 && fabs((double)f) > fabs(d))
        v.u--;
    if (how == 2 && (double)f > d)
        v.f = nextafterf(f, -INFINITY);
    return v.f;
}
/* c + the sum of n products, as a tensor core might. Finite values only. */
static float model_mma(const struct rule *r, bool f16, int n, const uint16_t *a, const uint16_t *b,
                       float c) {
    int p = f16 ? 10 : 7, bias = f16 ? 15 : 127;
    for (int from = 0; from < n; from += r->group) {
        struct number v[17];
        int top = -10000, n_v = 0;
        for (int i = from; i < from + r->group && i < n; i++) {
            int ea = (a[i] & 0x7fff) >> p, eb = (b[i] & 0x7fff) >> p;
            int ma = (a[i] & ((1 << p) - 1)) | (ea ? 1 << p : 0),
                mb = (b[i] & ((1 << p) - 1)) | (eb ? 1 << p : 0);
            int e = (ea ? ea : 1) + (eb ? eb : 1) - 2 * bias, m = ma * mb;
            v[n_v].sign = (a[i] ^ b[i]) >> 15;
            v[n_v].e = e - 2 * p;
            v[n_v++].m = m;
            if (r->normalised) {
                if (m)
                    e += 31 - __builtin_clz((unsigned)m) - 2 * p;
                else
                    continue;
            }
            if ((m || r->zeros) && e > top)
                top = e;
        }
        union {
            float f;
            uint32_t u;
        } w = {c};
        int ec = (int)(w.u >> 23 & 255);
        int mc = (int)(w.u & 0x7fffff) | (ec ? 0x800000 : 0);
        ec = (ec ? ec : 1) - 127;
        v[n_v].sign = (int)(w.u >> 31);
        v[n_v].e = ec - 23;
        v[n_v++].m = mc;
        if ((mc || r->zeros) && ec > top)
            top = ec;
        int64_t sum = 0;
        for (int i = 0; i < n_v; i++) {
            if (v[i].m == 0)
                continue;
            int shift = v[i].e - (top - r->fraction);
            int64_t m = v[i].m;
            if (shift >= 0) {
                m <<= shift;
            } else if (shift > -60) {
                int64_t whole = m >> -shift;
                if (r->floors && v[i].sign && (whole << -shift) != m)
                    whole++;
                m = whole;
            } else {
                m = r->floors && v[i].sign;
            }
            sum += v[i].sign ? -m : m;
        }
        c = sum == 0 ? 0.0f : rounded_from(ldexp((double)sum, top - r->fraction), r->final);
    }
    return c;
}

template <bool F16>
__global__ void single(float *d_, const uint16_t *a_, const uint16_t *b_, const float *c_) {
    int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const uint16_t *a = a_ + blockIdx.x * 256, *b = b_ + blockIdx.x * 128; // a [16, 16], b [8, 16]
    const float *c = c_ + blockIdx.x * 128;                                // [16, 8]
    float d[4];
    for (int i = 0; i < 4; i++)
        d[i] = c[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    mma16<F16>(
        d, *(const uint32_t *)(a + g * 16 + 2 * t), *(const uint32_t *)(a + (g + 8) * 16 + 2 * t),
        *(const uint32_t *)(a + g * 16 + 2 * t + 8),
        *(const uint32_t *)(a + (g + 8) * 16 + 2 * t + 8), *(const uint32_t *)(b + g * 16 + 2 * t),
        *(const uint32_t *)(b + g * 16 + 2 * t + 8));
    for (int i = 0; i < 4; i++)
        d_[blockIdx.x * 128 + (g + i / 2 * 8) * 8 + 2 * t + i % 2] = d[i];
}

enum { TILES = 1024, N_SINGLE = TILES * 128 };

/* Of the first `n` results of a set, those that the rule misses; stops after `enough`. */
static long misses(const struct rule *r, bool f16, const uint16_t *a, const uint16_t *b,
                   const float *c, const float *d, int n, long enough, int *tried) {
    long bad = 0;
    int i = 0;
    for (; i < n && bad < enough; i++) {
        int tile = i / 128, m = i % 128 / 8, col = i % 8;
        float f = model_mma(r, f16, 16, a + tile * 256 + m * 16, b + tile * 128 + col * 16, c[i]);
        bad += !(f == d[i]); // +0 and -0 alike
    }
    *tried = i;
    return bad;
}

struct trial {
    struct rule rule;
    double share;
    long bad[N_SETS];
    int tried[N_SETS];
};
static int cmp_trial(const void *x, const void *y) {
    const struct trial *a = (const struct trial *)x, *b = (const struct trial *)y;
    return (a->share > b->share) - (a->share < b->share);
}
static const char *rule_name(const struct rule *r, char *text, size_t size) {
    static const char *const finals[] = {"toward_zero", "nearest", "down"};
    snprintf(text, size, "F%d.group%d.%s.align_%s.final_%s%s", r->fraction, r->group,
             r->normalised ? "normalised" : "ea+eb", r->floors ? "down" : "toward_zero",
             finals[r->final], r->zeros ? ".zeros_count" : "");
    return text;
}

template <bool F16> static void model(void) {
    const char *type = F16 ? "f16" : "bf16";
    size_t n_a = (size_t)TILES * 256, n_b = (size_t)TILES * 128;
    uint16_t *a = (uint16_t *)malloc(N_SETS * n_a * 2), *b = (uint16_t *)malloc(N_SETS * n_b * 2);
    float *c = (float *)malloc(sizeof(float) * N_SETS * N_SINGLE),
          *d = (float *)malloc(sizeof(float) * N_SETS * N_SINGLE);
    for (int set = 0; set < N_SETS; set++) {
        uint16_t *sa = a + set * n_a, *sb = b + set * n_b;
        float *sc = c + (size_t)set * N_SINGLE;
        for (size_t i = 0; i < n_a; i++)
            sa[i] = element(set, F16, 0, 100, (int)(i / 16), (int)(i % 16), 16);
        for (size_t i = 0; i < n_b; i++)
            sb[i] = element(set, F16, 1, 100, (int)(i / 16), (int)(i % 16), 16);
        for (int i = 0; i < N_SINGLE;
             i++) { // near the products' size, above, below, and sometimes nearly their sum turned
            int tile = i / 128, m = i % 128 / 8, col = i % 8;
            struct rule exact = {40, 16, 0, 0, 1, 0};
            uint64_t r = mixed(300 + set, i);
            float sum =
                model_mma(&exact, F16, 16, sa + tile * 256 + m * 16, sb + tile * 128 + col * 16, 0);
            float size = fabsf(sum) > 0 ? fabsf(sum) : 1e-30f;
            sc[i] = (r & 7) == 0 ? -sum * (1.0f + uniform(r) * 0x1p-10f)
                                 : ((r & 8) ? -size : size) * (1.0f + uniform(r)) *
                                       exp2f((float)((int)(r >> 8 & 31) - 16));
        }
    }
    uint16_t *ga, *gb;
    float *gc, *gd;
    CHECK(cudaMalloc(&ga, N_SETS * n_a * 2));
    CHECK(cudaMalloc(&gb, N_SETS * n_b * 2));
    CHECK(cudaMalloc(&gc, sizeof(float) * N_SETS * N_SINGLE));
    CHECK(cudaMalloc(&gd, sizeof(float) * N_SETS * N_SINGLE));
    CHECK(cudaMemcpy(ga, a, N_SETS * n_a * 2, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(gb, b, N_SETS * n_b * 2, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(gc, c, sizeof(float) * N_SETS * N_SINGLE, cudaMemcpyHostToDevice));
    CHECK(cudaMemset(gd, 0xff, sizeof(float) * N_SETS * N_SINGLE));
    single<F16><<<N_SETS * TILES, 32>>>(gd, ga, gb, gc);
    CHECK(cudaGetLastError());
    CHECK(cudaMemcpy(d, gd, sizeof(float) * N_SETS * N_SINGLE, cudaMemcpyDeviceToHost));

    static struct trial trials[1024];
    int n = 0;
    for (int fraction = 22; fraction <= 28; fraction++)
        for (int group = 16; group >= 4; group /= 2)
            for (int how = 0; how < 24; how++) {
                struct trial *t = &trials[n++];
                t->rule =
                    (struct rule){fraction, group, how & 1, how >> 1 & 1, how >> 3, how >> 2 & 1};
                t->share = 0;
                for (int set = 0; set < N_SETS; set++) {
                    t->bad[set] = misses(&t->rule, F16, a + set * n_a, b + set * n_b,
                                         c + (size_t)set * N_SINGLE, d + (size_t)set * N_SINGLE,
                                         N_SINGLE, 500, &t->tried[set]);
                    t->share += (double)t->bad[set] / t->tried[set];
                }
            }
    qsort(trials, (size_t)n, sizeof *trials, cmp_trial);
    char text[128], name[256];
    for (int i = 0; i < 5; i++)
        for (int set = 0; set < N_SETS; set++) {
            snprintf(name, sizeof name, "model.%s.%d.%s.%s.misses", type, i + 1,
                     rule_name(&trials[i].rule, text, sizeof text), set_names[set]);
            snprintf(text, sizeof text, "of_%d", trials[i].tried[set]);
            put(name, (double)trials[i].bad[set], text);
        }

    /* Some misses of the best rule, to look at. */
    struct rule *best = &trials[0].rule;
    int shown = 0;
    for (int i = 0; i < N_SETS * N_SINGLE && shown < 6; i++) {
        int tile = i / 128, m = i % 128 / 8, col = i % 8;
        const uint16_t *ra = a + (size_t)tile * 256 + m * 16,
                       *rb = b + (size_t)tile * 128 + col * 16;
        float f = model_mma(best, F16, 16, ra, rb, c[i]);
        if (f == d[i])
            continue;
        shown++;
        printf("# %s %s miss: c %a mma %a model %a a", type, set_names[i / N_SINGLE], (double)c[i],
               (double)d[i], (double)f);
        for (int k = 0; k < 16; k++)
            printf(" %04x", ra[k]);
        printf(" b");
        for (int k = 0; k < 16; k++)
            printf(" %04x", rb[k]);
        printf("\n");
    }

    /* Long dots: the best rule in a chain. */
    int n_k = 2048;
    uint16_t *la, *lb;
    float *lo;
    CHECK(cudaMalloc(&la, (size_t)SIDE * n_k * 2));
    CHECK(cudaMalloc(&lb, (size_t)SIDE * n_k * 2));
    CHECK(cudaMalloc(&lo, (size_t)SIDE * SIDE * 4));
    float *out = (float *)malloc((size_t)SIDE * SIDE * 4);
    uint16_t *ha = (uint16_t *)malloc((size_t)SIDE * n_k * 2),
             *hb = (uint16_t *)malloc((size_t)SIDE * n_k * 2);
    for (int set = 0; set < N_SETS; set++) {
        fill_set<<<1056, 256>>>(la, set, F16, 0, 55, SIDE, n_k);
        fill_set<<<1056, 256>>>(lb, set, F16, 1, 55, SIDE, n_k);
        multiply<F16>(MMA, lo, la, lb, n_k);
        CHECK(cudaMemcpy(out, lo, (size_t)SIDE * SIDE * 4, cudaMemcpyDeviceToHost));
        CHECK(cudaMemcpy(ha, la, (size_t)SIDE * n_k * 2, cudaMemcpyDeviceToHost));
        CHECK(cudaMemcpy(hb, lb, (size_t)SIDE * n_k * 2, cudaMemcpyDeviceToHost));
        long bad = 0;
        double error = 0, norm = 0;
        enum { DOTS = 2048 };
        for (int i = 0; i < DOTS; i++) {
            int m = (i * 13) % SIDE, col = (i * 7 + i / SIDE) % SIDE;
            float f = 0;
            double exact = 0;
            for (int k = 0; k < n_k; k += 16)
                f = model_mma(best, F16, 16, ha + (size_t)m * n_k + k, hb + (size_t)col * n_k + k,
                              f);
            for (int k = 0; k < n_k; k++) {
                struct rule plain = {40, 1, 0, 0, 1, 0};
                exact += (double)model_mma(&plain, F16, 1, ha + (size_t)m * n_k + k,
                                           hb + (size_t)col * n_k + k, 0);
            }
            float got = out[(size_t)m * SIDE + col];
            bad += !(f == got);
            error += ((double)got - exact) * ((double)got - exact);
            norm += exact * exact;
        }
        snprintf(name, sizeof name, "model.%s.chain_k2048.%s.misses", type, set_names[set]);
        put(name, (double)bad, "of_2048");
        snprintf(name, sizeof name, "model.%s.chain_k2048.%s.error_from_f64", type, set_names[set]);
        put(name, sqrt(error / norm), "relative");
    }
    CHECK(cudaFree(ga));
    CHECK(cudaFree(gb));
    CHECK(cudaFree(gc));
    CHECK(cudaFree(gd));
    CHECK(cudaFree(la));
    CHECK(cudaFree(lb));
    CHECK(cudaFree(lo));
    free(a), free(b), free(c), free(d), free(out), free(ha), free(hb);
}

// ---------------------------------------------------------------- part 3: limits

__device__ __forceinline__ uint2 load8(const void *p) {
    uint2 v;
    asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];"
                 : "=r"(v.x), "=r"(v.y)
                 : "l"(p));
    return v;
}
__device__ __forceinline__ uint4 load16(const void *p) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

__global__ void fill_random(uint4 *out, size_t n, uint64_t seed) {
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        uint64_t x = mixed(seed, 2 * i), y = mixed(seed, 2 * i + 1);
        /* bf16 of sizes 2^-7 .. 2^8: exponent 0111 1xxx or 1000 0xxx would be wanted; 01111xxx is
         * enough. */
        x = (x & 0x83ff83ff83ff83ffull) | 0x3c003c003c003c00ull;
        y = (y & 0x83ff83ff83ff83ffull) | 0x3c003c003c003c00ull;
        out[i] = make_uint4((uint32_t)x, (uint32_t)(x >> 32), (uint32_t)y, (uint32_t)(y >> 32));
    }
}

enum {
    ROW = 2048 * 2,
    BLOCK_BYTES = 16 * ROW
}; // bytes; a block reads 16 rows, each of its 8 warps 512 bytes of a row

enum pattern { PIECES8, PIECES16, COALESCED };

/* A block's 16 rows. PIECES8: lane (g, t) reads 8 bytes at rows g and g + 8, at 32 j + 8 t;
 * PIECES16: 16 bytes at 64 j + 16 t. */
template <int PATTERN, int DEPTH>
__device__ __forceinline__ uint32_t read_rows(const unsigned char *rows, int warp, int lane) {
    int g = lane / 4, t = lane % 4;
    uint32_t x = 0;
    if (PATTERN == PIECES8) {
        const unsigned char *p = rows + g * ROW + warp * 512 + t * 8;
#pragma unroll 1 // else the compiler keeps more in flight
        for (int from = 0; from < 16; from += DEPTH) {
            uint2 v[DEPTH], w[DEPTH];
#pragma unroll
            for (int j = 0; j < DEPTH; j++) {
                v[j] = load8(p + (from + j) * 32);
                w[j] = load8(p + (from + j) * 32 + 8 * ROW);
            }
#pragma unroll
            for (int j = 0; j < DEPTH; j++)
                x ^= v[j].x ^ v[j].y ^ w[j].x ^ w[j].y;
        }
    } else {
        constexpr int STEPS = DEPTH / 2; // of 32 k: as many bytes in flight as DEPTH steps of 16
        const unsigned char *p = PATTERN == PIECES16 ? rows + g * ROW + warp * 512 + t * 16
                                                     : rows + warp * (2 * ROW) + lane * 16;
#pragma unroll 1
        for (int from = 0; from < 8; from += STEPS) {
            uint4 v[STEPS], w[STEPS];
#pragma unroll
            for (int j = 0; j < STEPS; j++) {
                v[j] = load16(p + (from + j) * (PATTERN == PIECES16 ? 64 : 512));
                w[j] = load16(p + (from + j) * (PATTERN == PIECES16 ? 64 : 512) +
                              (PATTERN == PIECES16 ? 8 : 1) * ROW);
            }
#pragma unroll
            for (int j = 0; j < STEPS; j++)
                x ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w ^ w[j].x ^ w[j].y ^ w[j].z ^ w[j].w;
        }
    }
    return x;
}
/* Blocks of 16 rows, one after another, or `gridDim` blocks that stride. Dynamic shared memory
 * limits the blocks on an SM. */
template <int PATTERN, int DEPTH>
__global__ void __launch_bounds__(256, 2)
    stream(const unsigned char *p, size_t n_blocks, uint32_t *out) {
    uint32_t x = 0;
    for (size_t b = blockIdx.x; b < n_blocks; b += gridDim.x)
        x ^= read_rows<PATTERN, DEPTH>(p + b * BLOCK_BYTES, threadIdx.x / 32, threadIdx.x % 32);
    if (x == 0x12345678) // never known beforehand
        *out = x;
}
__global__ void __launch_bounds__(256) copy16(uint4 *to, const uint4 *from, size_t n) {
    for (size_t i = blockIdx.x * (size_t)1024 + threadIdx.x; i < n; i += (size_t)gridDim.x * 1024) {
        uint4 v[4];
#pragma unroll
        for (int j = 0; j < 4; j++)
            v[j] = load16(from + i + j * 256);
#pragma unroll
        for (int j = 0; j < 4; j++)
            to[i + j * 256] = v[j];
    }
}

/* A persistent block that fetches 16 KB pieces by the bulk copy engine into a ring of STAGES. */
enum { PIECE = 16384 };
template <int STAGES>
__global__ void __launch_bounds__(256)
    bulk(const unsigned char *p, size_t n_pieces, uint32_t *out) {
    extern __shared__ __align__(1024) unsigned char ring[];
    __shared__ __align__(8) uint64_t full[STAGES];
    uint32_t x = 0;
    uint32_t full0 = (uint32_t)__cvta_generic_to_shared(full),
             ring0 = (uint32_t)__cvta_generic_to_shared(ring);
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; s++)
            asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(full0 + 8 * s));
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    __syncthreads();
    size_t ahead = blockIdx.x;
    auto fetch = [&](int s) {
        if (threadIdx.x == 0 && ahead < n_pieces) {
            asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(full0 + 8 * s),
                         "r"((int)PIECE)
                         : "memory");
            asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], "
                         "[%1], %2, [%3];" ::"r"(ring0 + s * PIECE),
                         "l"(p + ahead * PIECE), "r"((int)PIECE), "r"(full0 + 8 * s)
                         : "memory");
        }
        ahead += gridDim.x;
    };
    for (int s = 0; s < STAGES; s++)
        fetch(s);
    int stage = 0, phase = 0;
    for (size_t b = blockIdx.x; b < n_pieces; b += gridDim.x) {
        asm volatile("{\n"
                     ".reg .pred done;\n"
                     "again:\n"
                     "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
                     "@!done bra again;\n"
                     "}" ::"r"(full0 + 8 * stage),
                     "r"(phase)
                     : "memory");
        for (int i = threadIdx.x; i < PIECE / 16; i += 256) {
            uint4 v = *(const uint4 *)(ring + stage * PIECE + i * 16);
            x ^= v.x ^ v.y ^ v.z ^ v.w;
        }
        __syncthreads();
        fetch(stage);
        if (++stage == STAGES)
            stage = 0, phase ^= 1;
    }
    if (x == 0x12345678)
        *out = x;
}

/* A kernel of a step: its 16 rows are read before it waits for the kernel before it. */
template <bool PDL, int PATTERN, int DEPTH>
__global__ void __launch_bounds__(256, 2) layer(const unsigned char *p, uint32_t *out) {
    if (PDL)
        asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    uint32_t x = read_rows<PATTERN, DEPTH>(p + (size_t)blockIdx.x * BLOCK_BYTES, threadIdx.x / 32,
                                           threadIdx.x % 32);
    if (PDL)
        asm volatile("griddepcontrol.wait;" ::: "memory");
    if (x == 0x12345678)
        *out = x;
}
template <bool PDL> __global__ void __launch_bounds__(256) empty(uint32_t *out) {
    if (PDL) {
        asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
        asm volatile("griddepcontrol.wait;" ::: "memory");
    }
    if (out == NULL)
        __trap();
}
__global__ void raise_flag(volatile uint32_t *flag, uint32_t value) {
    __threadfence_system();
    *flag = value;
}
__global__ void to_host(uint4 *host, const uint4 *from, int n) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        host[i] = from[i];
}

template <class F> static double median_ms(int n, F f) {
    double ms[64];
    cudaEvent_t from, to;
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    f();
    for (int i = 0; i < n; i++) {
        float t;
        CHECK(cudaEventRecord(from));
        f();
        CHECK(cudaEventRecord(to));
        CHECK(cudaEventSynchronize(to));
        CHECK(cudaEventElapsedTime(&t, from, to));
        ms[i] = t;
    }
    CHECK(cudaGetLastError());
    CHECK(cudaEventDestroy(from));
    CHECK(cudaEventDestroy(to));
    return median(ms, n);
}

static const size_t BYTES = (size_t)4 << 30;
static double best_read = 0;
static char best_name[96];

static void put_rate(const char *name, double bytes, double ms) {
    double rate = bytes / ms * 1e-6;
    put(name, rate, "GB/s");
    if (strncmp(name, "limits.read.", 12) == 0 && rate > best_read) {
        best_read = rate;
        snprintf(best_name, sizeof best_name, "%s", name);
    }
}

template <int PATTERN, int DEPTH>
static void read_limits(const char *pattern, const unsigned char *buffer, uint32_t *out) {
    static const int per_sm[] = {1, 2, 3, 4, 6, 8};
    int n_sms, shared;
    char name[96];
    auto kernel = stream<PATTERN, DEPTH>;
    CHECK(cudaDeviceGetAttribute(&n_sms, cudaDevAttrMultiProcessorCount, 0));
    CHECK(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    size_t n_blocks = BYTES / BLOCK_BYTES;
    int last = 0;
    for (int i = 0; i < 6; i++) {
        int want = per_sm[i], got;
        size_t dynamic = want == 8 ? 0 : (size_t)(shared / want - 2048) / 1024 * 1024;
        CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&got, kernel, 256, dynamic));
        if (got == last)
            break;
        last = got;
        double ms = median_ms(
            5, [&] { kernel<<<(unsigned)n_blocks, 256, dynamic>>>(buffer, n_blocks, out); });
        snprintf(name, sizeof name, "limits.read.%s.depth%d.blocks_per_sm%d", pattern, DEPTH, got);
        put_rate(name, (double)BYTES, ms);
        ms = median_ms(5, [&] { kernel<<<n_sms * got, 256, dynamic>>>(buffer, n_blocks, out); });
        snprintf(name, sizeof name, "limits.read.%s.depth%d.persistent%d", pattern, DEPTH, got);
        put_rate(name, (double)BYTES, ms);
    }
}
template <int STAGES>
static void bulk_limit(const unsigned char *buffer, uint32_t *out, int per_sm) {
    int n_sms;
    char name[96];
    CHECK(cudaDeviceGetAttribute(&n_sms, cudaDevAttrMultiProcessorCount, 0));
    CHECK(cudaFuncSetAttribute(bulk<STAGES>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               STAGES * PIECE));
    double ms = median_ms(5, [&] {
        bulk<STAGES><<<n_sms * per_sm, 256, STAGES * PIECE>>>(buffer, BYTES / PIECE, out);
    });
    snprintf(name, sizeof name, "limits.read.bulk16k.stages%d.persistent%d", STAGES, per_sm);
    put_rate(name, (double)BYTES, ms);
}

enum { CHAIN = 110 };
enum how { STREAM, GRAPH, GRAPH_PDL, STREAM_PDL };
static const char *const how_names[] = {"stream", "graph", "graph_pdl", "stream_pdl"};

static cudaLaunchConfig_t launch_of(cudaLaunchAttribute *attribute, int n_blocks, cudaStream_t s,
                                    bool pdl) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)n_blocks);
    config.blockDim = dim3(256);
    config.stream = s;
    attribute->id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute->val.programmaticStreamSerializationAllowed = 1;
    config.attrs = attribute;
    config.numAttrs = pdl ? 1 : 0;
    return config;
}
/* The median time of a chain of CHAIN kernels that launch(stream, i, pdl) starts; the host's time
 * too where asked. */
template <class F> static double chain_us(int how, F launch, double *host_us) {
    cudaStream_t s;
    cudaEvent_t from, to;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    double us[41], host[41];
    bool pdl = how == GRAPH_PDL || how == STREAM_PDL, graphed = how == GRAPH || how == GRAPH_PDL;
    CHECK(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking));
    CHECK(cudaEventCreate(&from));
    CHECK(cudaEventCreate(&to));
    if (graphed) {
        CHECK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
        for (int i = 0; i < CHAIN; i++)
            launch(s, i, pdl);
        CHECK(cudaStreamEndCapture(s, &graph));
        CHECK(cudaGraphInstantiate(&exec, graph, 0));
        CHECK(cudaGraphUpload(exec, s));
    }
    for (int r = -3; r < 41; r++) {
        float ms;
        CHECK(cudaStreamSynchronize(s));
        double began = now_us();
        CHECK(cudaEventRecord(from, s));
        if (graphed)
            CHECK(cudaGraphLaunch(exec, s));
        else
            for (int i = 0; i < CHAIN; i++)
                launch(s, i, pdl);
        CHECK(cudaEventRecord(to, s));
        CHECK(cudaStreamSynchronize(s));
        double ended = now_us();
        CHECK(cudaEventElapsedTime(&ms, from, to));
        if (r >= 0) {
            us[r] = (double)ms * 1e3;
            host[r] = ended - began;
        }
    }
    if (graphed) {
        CHECK(cudaGraphExecDestroy(exec));
        CHECK(cudaGraphDestroy(graph));
    }
    CHECK(cudaEventDestroy(from));
    CHECK(cudaEventDestroy(to));
    CHECK(cudaStreamDestroy(s));
    *host_us = median(host, 41);
    return median(us, 41);
}

template <int PATTERN, int DEPTH>
static void chain_read(const char *pattern, const unsigned char *buffer, uint32_t *out,
                       int n_blocks) {
    char name[96];
    for (int how = 0; how < 4; how++) {
        size_t bytes = (size_t)n_blocks * BLOCK_BYTES, places = BYTES / bytes;
        double host,
            us = chain_us(
                how,
                [&](cudaStream_t s, int i, bool pdl) {
                    cudaLaunchAttribute attribute;
                    cudaLaunchConfig_t config = launch_of(&attribute, n_blocks, s, pdl);
                    const unsigned char *p = buffer + (size_t)i % places * bytes;
                    CHECK(pdl ? cudaLaunchKernelEx(&config, layer<true, PATTERN, DEPTH>, p, out)
                              : cudaLaunchKernelEx(&config, layer<false, PATTERN, DEPTH>, p, out));
                },
                &host);
        snprintf(name, sizeof name, "limits.chain.%s.depth%d.%dx64KB.%s.rate", pattern, DEPTH,
                 n_blocks, how_names[how]);
        put_rate(name, (double)bytes * CHAIN, us * 1e-3);
    }
}

static void limits(void) {
    unsigned char *buffer;
    uint32_t *out;
    char name[96];
    CHECK(cudaMalloc(&buffer, BYTES));
    CHECK(cudaMalloc(&out, 4));
    fill_random<<<2112, 256>>>((uint4 *)buffer, BYTES / 16, 3);
    CHECK(cudaDeviceSynchronize());

    read_limits<PIECES8, 8>("pieces8", buffer, out);
    read_limits<PIECES8, 16>("pieces8", buffer, out);
    read_limits<PIECES16, 8>("pieces16", buffer, out);
    read_limits<PIECES16, 16>("pieces16", buffer, out);
    read_limits<COALESCED, 8>("coalesced16", buffer, out);
    read_limits<COALESCED, 16>("coalesced16", buffer, out);
    bulk_limit<4>(buffer, out, 1);
    bulk_limit<8>(buffer, out, 1);
    bulk_limit<4>(buffer, out, 2);
    bulk_limit<4>(buffer, out, 3);
    printf("# best read: %s\n", best_name);
    put("limits.best_read", best_read, "GB/s");

    double ms = median_ms(7, [&] {
        CHECK(cudaMemcpyAsync(buffer + BYTES / 2, buffer, BYTES / 2, cudaMemcpyDeviceToDevice));
    });
    put_rate("limits.copy.memcpy.read+write", (double)BYTES, ms);
    ms = median_ms(7, [&] {
        copy16<<<2112, 256>>>((uint4 *)(buffer + BYTES / 2), (const uint4 *)buffer, BYTES / 32);
    });
    put_rate("limits.copy.kernel.read+write", (double)BYTES, ms);
    fill_random<<<2112, 256>>>((uint4 *)buffer, BYTES / 16, 4);
    CHECK(cudaDeviceSynchronize());

    for (int n_blocks = 128; n_blocks <= 512; n_blocks *= 4)
        for (int how = 0; how < 4; how++) {
            double host,
                us = chain_us(
                    how,
                    [&](cudaStream_t s, int, bool pdl) {
                        cudaLaunchAttribute attribute;
                        cudaLaunchConfig_t config = launch_of(&attribute, n_blocks, s, pdl);
                        CHECK(pdl ? cudaLaunchKernelEx(&config, empty<true>, out)
                                  : cudaLaunchKernelEx(&config, empty<false>, out));
                    },
                    &host);
            snprintf(name, sizeof name, "limits.launch.%dblocks.%s", n_blocks, how_names[how]);
            put(name, us / CHAIN, "us/kernel");
            snprintf(name, sizeof name, "limits.launch.%dblocks.%s.host", n_blocks, how_names[how]);
            put(name, host / CHAIN, "us/kernel");
        }
    chain_read<PIECES8, 16>("pieces8", buffer, out, 128);
    chain_read<PIECES8, 16>("pieces8", buffer, out, 256);
    chain_read<PIECES8, 16>("pieces8", buffer, out, 704);
    chain_read<PIECES8, 8>("pieces8", buffer, out, 256);
    chain_read<PIECES16, 16>("pieces16", buffer, out, 256);
    chain_read<COALESCED, 16>("coalesced16", buffer, out, 256);

    // to the host
    unsigned char *pinned;
    volatile uint32_t *flag;
    cudaEvent_t blocking;
    double v[201];
    CHECK(cudaHostAlloc(&pinned, 1 << 20, cudaHostAllocMapped));
    CHECK(cudaHostAlloc((void **)&flag, 64, cudaHostAllocMapped));
    CHECK(cudaEventCreateWithFlags(&blocking, cudaEventBlockingSync | cudaEventDisableTiming));
    memset(pinned, 1, 1 << 20);
    *flag = 0;
    static const int sizes[] = {4, 128 << 10, 600 << 10};
    for (int i = 0; i < 3; i++) {
        int n = sizes[i];
        ms = median_ms(41, [&] {
            CHECK(cudaMemcpyAsync(pinned, buffer + (1 << 20), (size_t)n, cudaMemcpyDeviceToHost));
        });
        snprintf(name, sizeof name, "limits.to_host.%dB.device_time", n);
        put(name, ms * 1e3, "us");
        for (int r = -5; r < 201; r++) {
            double began = now_us();
            CHECK(cudaMemcpyAsync(pinned, buffer + (1 << 20), (size_t)n, cudaMemcpyDeviceToHost));
            CHECK(cudaStreamSynchronize(0));
            if (r >= 0)
                v[r] = now_us() - began;
        }
        snprintf(name, sizeof name, "limits.to_host.%dB.host_time", n);
        put(name, median(v, 201), "us");
    }
    for (int i = 1; i < 3; i++) {
        int n = sizes[i];
        for (int r = -5; r < 201; r++) {
            double began = now_us();
            to_host<<<32, 256>>>((uint4 *)pinned, (const uint4 *)buffer, n / 16);
            CHECK(cudaStreamSynchronize(0));
            if (r >= 0)
                v[r] = now_us() - began;
        }
        snprintf(name, sizeof name, "limits.to_host.%dB.by_kernel.host_time", n);
        put(name, median(v, 201), "us");
    }
    for (int mode = 0; mode < 3; mode++) { // from launch to woken
        static const char *const modes[] = {"stream_sync", "blocking_event", "poll_flag"};
        for (int r = -5; r < 201; r++) {
            double began = now_us();
            uint32_t value = (uint32_t)(mode * 1000 + r + 6);
            raise_flag<<<1, 1>>>(flag, value);
            if (mode == 0) {
                CHECK(cudaStreamSynchronize(0));
            } else if (mode == 1) {
                CHECK(cudaEventRecord(blocking));
                CHECK(cudaEventSynchronize(blocking));
            } else {
                while (*flag != value)
                    if (now_us() - began > 1e6)
                        break;
            }
            double took = now_us() - began;
            if (r >= 0)
                v[r] = took;
            CHECK(cudaDeviceSynchronize());
        }
        double m = median(v, 201);
        snprintf(name, sizeof name, "limits.launch_to_woken.%s", modes[mode]);
        put(name, m, "us");
        snprintf(name, sizeof name, "limits.launch_to_woken.%s.p95", modes[mode]);
        put(name, v[190], "us");
    }
    CHECK(cudaFreeHost(pinned));
    CHECK(cudaFreeHost((void *)flag));
    CHECK(cudaFree(buffer));
    CHECK(cudaFree(out));
}

int main(int n_args, char **args) {
    bool want[3] = {n_args < 2, n_args < 2, n_args < 2};
    for (int i = 1; i < n_args; i++) {
        want[0] |= strcmp(args[i], "bits") == 0;
        want[1] |= strcmp(args[i], "model") == 0;
        want[2] |= strcmp(args[i], "limits") == 0;
    }
    cudaDeviceProp p;
    CHECK(cudaGetDeviceProperties(&p, 0));
    printf("# %s\n", p.name);
    put("device.sms", p.multiProcessorCount, "SMs");
    put("device.l2", (double)p.l2CacheSize / 1e6, "MB");
    put("device.memory", (double)p.totalGlobalMem / 1e9, "GB");
    put("device.shared_per_block", (double)p.sharedMemPerBlockOptin / 1024, "KiB");
    double began = now_us();
    if (want[2])
        limits();
    if (want[0]) {
        bits<false>();
        bits<true>();
    }
    if (want[1]) {
        model<false>();
        model<true>();
    }
    put("wall", (now_us() - began) * 1e-6, "s");
    return 0;
}
