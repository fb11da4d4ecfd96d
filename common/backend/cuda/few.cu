/* Matrix products of few rows of x, where memory sets the pace: every weight is read once, straight into the registers of mma.
 *
 * A block has MT tiles of 16 outputs and up to 8 * NT rows of x; its 8 warps are the chains, each with its slice of k. A warp reads
 * packed weights from end to end of its slice, 512 bytes a step of 16 k, AHEAD steps before it uses them: the first of them before the
 * kernel before this one has ended. The slice's x comes through the warp's own part of shared memory, 64 k of all rows a stage.
 *
 * The chains' sums meet in shared memory, where they are added in order.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/few.h"

/* x [n, ldx] of TYPE, in blocks. STAGES of x are on their way. */
template <int TYPE, int NT, int MT, int AHEAD, int STAGES> DEVICE void few(const struct cu_matmul_args *m) {
    enum { STAGE = NT * 8 * 128 }; // bytes
    SHARED_DYNAMIC(shared);
    uint32_t chain = threadIdx.x / 32;
    struct cu_tiles slice = chain_tiles(m->n_in, chain);
    struct few_weights<MT, AHEAD> w;
    unsigned char *mine = shared + chain * STAGES * STAGE;
    grid_launch_next();
    if (!m->expert_w)
        weights_begin(&w, m, slice);
    grid_wait();
    struct cu_rows r = rows_of(m);
    for (uint32_t row0 = blockIdx.y * NT * 8; row0 < r.n; row0 += gridDim.y * NT * 8) {
        if (m->expert_w || row0 != blockIdx.y * NT * 8)
            weights_begin(&w, m, slice);
        struct few_x<NT> x = few_x_of<NT>(m, &r, row0);
        UNROLL for (uint32_t s = 0; s < STAGES; s++)
            few_x_copy(&x, mine + s * STAGE, slice.first + s, slice.end);
        float acc[MT][NT][4] = {};
        uint32_t stage = 0;
        for (uint32_t tile = slice.first; tile < slice.end; tile += AHEAD / 4)
            UNROLL for (int q = 0; q < AHEAD / 4; q++) {
                if (tile + (uint32_t)q >= slice.end)
                    continue;
                copy_wait(STAGES - 1);
                __syncwarp();
                unsigned char *at = mine + stage * STAGE;
                few_multiply<TYPE, NT, MT, AHEAD>(acc, &w, 4 * q, at, 128, 1);
                __syncwarp();
                few_x_copy(&x, at, tile + (uint32_t)q + STAGES, slice.end);
                stage = stage + 1 < STAGES ? stage + 1 : 0;
            }
        copy_wait(0);
        __syncthreads(); // the sums take the place of x
        few_join<NT, MT>(m, &r, row0, acc, (float *)shared);
        __syncthreads();
    }
}

KERNEL(CU_THREADS, 2) k_few8_bf16(PARAM(struct cu_matmul_args) m) {
    few<CU_BF16, 1, 1, 16, CU_FEW_STAGES>(&m);
}
KERNEL(CU_THREADS, 2) k_few8_f16(PARAM(struct cu_matmul_args) m) {
    few<CU_F16, 1, 1, 16, CU_FEW_STAGES>(&m);
}
KERNEL(CU_THREADS, 2) k_few16_bf16(PARAM(struct cu_matmul_args) m) {
    few<CU_BF16, 2, 1, 16, CU_FEW_STAGES>(&m);
}
KERNEL(CU_THREADS, 2) k_few16_f16(PARAM(struct cu_matmul_args) m) {
    few<CU_F16, 2, 1, 16, CU_FEW_STAGES>(&m);
}
KERNEL(CU_THREADS, 2) k_few32_bf16(PARAM(struct cu_matmul_args) m) {
    few<CU_BF16, 4, 2, 4, CU_FEW32_STAGES>(&m);
}
KERNEL(CU_THREADS, 2) k_few32_f16(PARAM(struct cu_matmul_args) m) {
    few<CU_F16, 4, 2, 4, CU_FEW32_STAGES>(&m);
}

/* The sum of each of n rows of x (as `what` says) -> sum [n], for all warps: each adds its slice, then the slices are joined. */
DEVICE void norm_rows_sum(const float *x, uint32_t ldx, uint32_t n, uint32_t dim, enum norm_sum what, const float *mean,
                          float *slices, float *sum) {
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
DEVICE void norm_rows_round(const struct cu_matmul_args *m, const float *x, uint32_t n, struct cu_tiles slice, const float *scale,
                            const float *mean, unsigned char *to, uint32_t ld) {
    const float *weight = m->norm.kind != CU_NORM_NONE ? m->norm.weight : x;
    const float *bias = m->norm.kind == CU_NORM_LAYER && m->norm.bias ? m->norm.bias : x;
    for (uint32_t k = slice.first * CU_PAD + threadIdx.x % 32 * 4; k < slice.end * CU_PAD && n > 0; k += 128) {
        float4 w = quad_load(weight, k, m->n_in, true), b = quad_load(bias, k, m->n_in, true);
        for (uint32_t i = 0; i < n; i++) {
            float4 v = quad_load(x + (size_t)i * m->ldx, k, m->n_in, true);
            v = norm_element4(v, w, b, scale[i], mean[i], &m->norm);
            v.x = k < m->n_in ? v.x : 0;
            v.y = k + 1 < m->n_in ? v.y : 0;
            v.z = k + 2 < m->n_in ? v.z : 0;
            v.w = k + 3 < m->n_in ? v.w : 0;
            *(uint2 *)(to + ((size_t)i * ld + k) * 2) = make_uint2(pack_as(TYPE, v.x, v.y), pack_as(TYPE, v.z, v.w));
        }
    }
}

/* x [n <= 8, ldx] f32, normed and rounded on the way into shared memory. No experts. */
template <int TYPE> DEVICE void few_norm(const struct cu_matmul_args *m) {
    enum { AHEAD = 16 };
    SHARED float slices[8 * CU_CHAINS], mean[8], scale[8];
    SHARED_DYNAMIC(shared); // the chains' sums, then x [n][ld]
    unsigned char *rounded = shared + CU_FEW_SUMS;
    struct cu_tiles slice = chain_tiles(m->n_in, threadIdx.x / 32);
    struct few_weights<1, AHEAD> w;
    grid_launch_next();
    weights_begin(&w, m, slice);
    grid_wait();
    struct cu_rows r = rows_of(m);
    uint32_t row0 = blockIdx.y * 8, n = row0 >= r.n ? 0 : r.n - row0 < 8 ? r.n - row0 : 8;
    const float *x = (const float *)m->x + (size_t)row0 * m->ldx;
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
    uint32_t ld = m->ld_w + 8; // rows begin 4 banks apart
    norm_rows_round<TYPE>(m, x, n, slice, scale, mean, rounded, ld);
    __syncwarp();
    float acc[1][1][4] = {};
    for (uint32_t tile = slice.first; tile < slice.end; tile += AHEAD / 4)
        UNROLL for (int q = 0; q < AHEAD / 4; q++)
            if (tile + (uint32_t)q < slice.end)
                few_multiply<TYPE, 1, 1, AHEAD>(acc, &w, 4 * q, rounded + (tile + (uint32_t)q) * CU_PAD * 2, 2 * ld, 0, n);
    few_join<1, 1>(m, &r, row0, acc, (float *)shared);
}

KERNEL(CU_THREADS, 2) k_few_norm_bf16(PARAM(struct cu_matmul_args) m) {
    few_norm<CU_BF16>(&m);
}
KERNEL(CU_THREADS, 2) k_few_norm_f16(PARAM(struct cu_matmul_args) m) {
    few_norm<CU_F16>(&m);
}
