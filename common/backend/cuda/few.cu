/* Matrix products of few rows of x. Memory limits the speed, so every weight is read once, straight
 * into the registers of mma.
 *
 * A block has up to 8 * NT rows of x, and every gridDim.x-th tile of 16 outputs; its 8 warps are
 * the chains, each with its slice of k. A warp reads the packed weights of its slices in order, 512
 * bytes a step of 16 k, FEW_AHEAD steps before their use, and goes from one tile to the next
 * without a pause. It loads the first steps before the previous kernel has ended. The slice's x is
 * in the warp's own part of shared memory, 64 k of all rows a stage: all stages if there is room,
 * else the next ones.
 *
 * The chains' sums are added in order, in shared memory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/few.h"

/* x [n, ldx] of TYPE, in blocks. */
template <int TYPE, int NT> DEVICE void few(const struct cu_matmul_args *m) {
    enum { STAGE = NT * 8 * 128, SUMS = CU_CHAINS * 16 * NT * 8 * 4 }; // bytes
    SHARED_DYNAMIC(shared); // the sums, then every warp's stages
    uint32_t chain = threadIdx.x / 32;
    struct cu_tiles slice = chain_tiles(m->n_in, chain);
    uint32_t n_stages = m->all_x ? chain_tiles(m->n_in, 0).end : CU_FEW_STAGES;
    unsigned char *mine = shared + SUMS + chain * n_stages * STAGE;
    struct few_weights w;
    grid_launch_next();
    if (!m->expert_w)
        weights_begin(&w, m, slice);
    grid_wait();
    struct cu_rows r = rows_of(m);
    for (uint32_t row0 = blockIdx.y * NT * 8; row0 < r.n; row0 += gridDim.y * NT * 8) {
        if (m->expert_w || row0 != blockIdx.y * NT * 8)
            weights_begin(&w, m, slice);
        struct few_x<NT> x = few_x_of<NT>(m, &r, row0);
        few_x_begin(&x, mine, slice, n_stages, m->all_x, cu_tiles_of(&m->pairs));
        if (m->all_x) {
            copy_wait(0);
            __syncwarp();
        }
        for (uint32_t tile = blockIdx.x; tile < cu_tiles_of(&m->pairs); tile += gridDim.x) {
            float acc[NT][4] = {};
            for (uint32_t group = slice.first; group < slice.end; group += FEW_AHEAD / 4) {
                weights_next(&w, m, slice, tile, group);
                UNROLL for (int q = 0; q < FEW_AHEAD / 4; q++) {
                    if (group + (uint32_t)q >= slice.end)
                        continue;
                    unsigned char *at =
                        mine + (m->all_x ? (group + (uint32_t)q - slice.first) : x.stage) * STAGE;
                    if (!m->all_x) {
                        copy_wait(CU_FEW_STAGES - 1);
                        __syncwarp();
                    }
                    few_multiply<TYPE, NT>(acc, &w, 4 * q, at, 128, true, 8 * NT);
                    if (!m->all_x) {
                        __syncwarp();
                        few_x_next(&x, mine, slice);
                    }
                }
            }
            few_join<NT>(m, &r, row0, tile, acc, (float *)shared);
        }
        copy_wait(0);
    }
}

KERNEL(CU_THREADS, 2) k_few8_bf16(PARAM(struct cu_matmul_args) m) {
    few<CU_BF16, 1>(&m);
}
KERNEL(CU_THREADS, 2) k_few8_f16(PARAM(struct cu_matmul_args) m) {
    few<CU_F16, 1>(&m);
}
KERNEL(CU_THREADS, 2) k_few16_bf16(PARAM(struct cu_matmul_args) m) {
    few<CU_BF16, 2>(&m);
}
KERNEL(CU_THREADS, 2) k_few16_f16(PARAM(struct cu_matmul_args) m) {
    few<CU_F16, 2>(&m);
}
KERNEL(CU_THREADS, 2) k_few32_bf16(PARAM(struct cu_matmul_args) m) {
    few<CU_BF16, 4>(&m);
}
KERNEL(CU_THREADS, 2) k_few32_f16(PARAM(struct cu_matmul_args) m) {
    few<CU_F16, 4>(&m);
}

/* The sum of each of n rows of x (as `what` says) -> sum [n], for all warps: each adds its slice,
 * then the slices are joined. */
DEVICE void norm_rows_sum(const float *x, uint32_t ldx, uint32_t n, uint32_t dim,
                          enum norm_sum what, const float *mean, float *slices, float *sum) {
    uint32_t lane = threadIdx.x % 32, chain = threadIdx.x / 32;
    for (uint32_t i = 0; i < n; i++) {
        float s = norm_slice_sum(x + (size_t)i * ldx, chain, lane, dim, what, mean ? mean[i] : 0);
        if (lane == 0)
            slices[i * CU_CHAINS + chain] = s;
    }
    __syncthreads();
    if (threadIdx.x < n)
        sum[threadIdx.x] = norm_join(slices + threadIdx.x * CU_CHAINS);
    __syncthreads();
}

/* Rows [n] of x, normed and rounded -> shared memory [n][ld], each warp its slice. */
template <int TYPE>
DEVICE void norm_rows_round(const struct cu_matmul_args *m, const float *x, uint32_t n,
                            struct cu_tiles slice, const float *scale, const float *mean,
                            unsigned char *to, uint32_t ld) {
    const float *weight = m->norm.kind != CU_NORM_NONE ? m->norm.weight : x;
    const float *bias = m->norm.kind == CU_NORM_LAYER && m->norm.bias ? m->norm.bias : x;
    for (uint32_t k = slice.first * CU_PAD + threadIdx.x % 32 * 4; k < slice.end * CU_PAD && n > 0;
         k += 128) {
        float4 w = quad_load(weight, k, m->n_in, true), b = quad_load(bias, k, m->n_in, true);
        for (uint32_t i = 0; i < n; i++) {
            float4 v = quad_load(x + (size_t)i * m->ldx, k, m->n_in, true);
            v = norm_element4(v, w, b, scale[i], mean[i], &m->norm);
            v.x = k < m->n_in ? v.x : 0;
            v.y = k + 1 < m->n_in ? v.y : 0;
            v.z = k + 2 < m->n_in ? v.z : 0;
            v.w = k + 3 < m->n_in ? v.w : 0;
            *(uint2 *)(to + ((size_t)i * ld + k) * 2) =
                make_uint2(pack_as(TYPE, v.x, v.y), pack_as(TYPE, v.z, v.w));
        }
    }
}

/* All n rows; their sums are in shared memory. */
template <int TYPE>
DEVICE void norm_all_rows(const struct cu_matmul_args *m, const float *x, uint32_t n,
                          struct cu_tiles slice, float *slices, float *mean, float *scale,
                          unsigned char *rounded, uint32_t ld) {
    if (threadIdx.x < 8)
        mean[threadIdx.x] = 0, scale[threadIdx.x] = 1;
    __syncthreads();
    if (m->norm.kind == CU_NORM_LAYER) {
        norm_rows_sum(x, m->ldx, n, m->n_in, NORM_PLAIN, NULL, slices, mean);
        if (threadIdx.x < n)
            mean[threadIdx.x] = norm_mean(mean[threadIdx.x], m->n_in);
        __syncthreads();
    }
    if (m->norm.kind != CU_NORM_NONE) {
        norm_rows_sum(x, m->ldx, n, m->n_in, NORM_SQUARES, mean, slices, scale);
        if (threadIdx.x < n)
            scale[threadIdx.x] = norm_scale(scale[threadIdx.x], m->n_in, m->norm.eps);
        __syncthreads();
    }
    norm_rows_round<TYPE>(m, x, n, slice, scale, mean, rounded, ld);
}

/* One row of an RMSNorm, of which a lane has up to 4 * ONE_ROW elements. x is loaded once; the
 * norm's weights are loaded before the previous kernel has ended. The sums and products are those
 * of norm_rows_sum and norm_rows_round. */
enum { ONE_ROW = 4 };
struct one_row {
    float4 w[ONE_ROW];
};
DEVICE bool one_row_fits(const struct cu_matmul_args *m) {
    return m->norm.kind == CU_NORM_RMS && m->n_in % 4 == 0 &&
           chain_tiles(m->n_in, 0).end * CU_PAD <= 128 * ONE_ROW;
}
DEVICE void one_row_begin(struct one_row *one, const struct cu_matmul_args *m,
                          struct cu_tiles slice) {
    UNROLL for (uint32_t j = 0; j < ONE_ROW; j++) {
        uint32_t k = slice.first * CU_PAD + threadIdx.x % 32 * 4 + 128 * j;
        one->w[j] = k < slice.end * CU_PAD && k < m->n_in ? *(const float4 *)(m->norm.weight + k)
                                                          : make_float4(0, 0, 0, 0);
    }
}
template <int TYPE>
DEVICE void one_row_round(const struct one_row *one, const struct cu_matmul_args *m, const float *x,
                          struct cu_tiles slice, float *slices, unsigned char *to) {
    uint32_t lane = threadIdx.x % 32, first = slice.first * CU_PAD + lane * 4;
    float4 v[ONE_ROW];
    float sum = 0;
    UNROLL for (uint32_t j = 0; j < ONE_ROW; j++) {
        uint32_t k = first + 128 * j;
        v[j] = k < slice.end * CU_PAD && k < m->n_in ? *(const float4 *)(x + k)
                                                     : make_float4(0, 0, 0, 0);
    }
    UNROLL for (uint32_t j = 0; j < ONE_ROW;
                j++) if (first + 128 * j < slice.end * CU_PAD && first + 128 * j < m->n_in) sum =
        norm_add4(sum, v[j], NORM_SQUARES, 0);
    UNROLL for (int far = 16; far > 0; far /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, far);
    if (lane == 0)
        slices[threadIdx.x / 32] = sum;
    __syncthreads();
    float scale = norm_scale(norm_join(slices), m->n_in, m->norm.eps);
    UNROLL for (uint32_t j = 0; j < ONE_ROW;
                j++) if (first + 128 * j < slice.end * CU_PAD) { // padding: 0 * scale * 0
        float4 n = norm_element4(v[j], one->w[j], make_float4(0, 0, 0, 0), scale, 0, &m->norm);
        if (first + 128 * j >= m->n_in)
            n = make_float4(0, 0, 0, 0);
        *(uint2 *)(to + (first + 128 * j) * 2) =
            make_uint2(pack_as(TYPE, n.x, n.y), pack_as(TYPE, n.z, n.w));
    }
}

/* x [n <= 8, ldx] f32, normed and rounded on the way into shared memory. No experts. */
template <int TYPE> DEVICE void few_norm(const struct cu_matmul_args *m) {
    SHARED float slices[8 * CU_CHAINS], mean[8], scale[8];
    SHARED_DYNAMIC(shared); // the chains' sums, then x [n][ld]
    unsigned char *rounded = shared + CU_FEW_SUMS;
    struct cu_tiles slice = chain_tiles(m->n_in, threadIdx.x / 32);
    struct few_weights w;
    struct one_row one;
    bool fits = one_row_fits(m);
    grid_launch_next();
    weights_begin(&w, m, slice);
    if (fits)
        one_row_begin(&one, m, slice);
    grid_wait();
    struct cu_rows r = rows_of(m);
    uint32_t row0 = blockIdx.y * 8, n = row0 >= r.n ? 0 : r.n - row0 < 8 ? r.n - row0 : 8;
    const float *x = (const float *)m->x + (size_t)row0 * m->ldx;
    uint32_t ld = m->ld_w + 8; // rows begin 4 banks apart
    if (fits && n == 1)
        one_row_round<TYPE>(&one, m, x, slice, slices, rounded);
    else
        norm_all_rows<TYPE>(m, x, n, slice, slices, mean, scale, rounded, ld);
    __syncwarp();
    for (uint32_t tile = blockIdx.x; tile < cu_tiles_of(&m->pairs); tile += gridDim.x) {
        float acc[1][4] = {};
        for (uint32_t group = slice.first; group < slice.end; group += FEW_AHEAD / 4) {
            weights_next(&w, m, slice, tile, group);
            UNROLL for (int q = 0; q < FEW_AHEAD / 4; q++) if (group + (uint32_t)q < slice.end)
                few_multiply<TYPE, 1>(acc, &w, 4 * q, rounded + (group + (uint32_t)q) * CU_PAD * 2,
                                      2 * ld, false, n);
        }
        few_join<1>(m, &r, row0, tile, acc, (float *)shared);
    }
}

KERNEL(CU_THREADS, 2) k_few_norm_bf16(PARAM(struct cu_matmul_args) m) {
    few_norm<CU_BF16>(&m);
}
KERNEL(CU_THREADS, 2) k_few_norm_f16(PARAM(struct cu_matmul_args) m) {
    few_norm<CU_F16>(&m);
}
