/* Matrix products in f32, for weights in F32 and for --precise: W of any type, x in f32, sums of
 * one fmaf after the other.
 *
 * A block has 16 outputs and 8 rows of x. Its 8 warps are the chains; lane (g, t) has rows g and g
 * + 8 of W and, of every 16 k, 4t to 4t + 3. The four lanes of a row are added by shuffles, then
 * the chains in order.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/exact.h"

/* Four weights at k of a row. */
DEVICE float4 exact_weights(const unsigned char *row, uint32_t type, uint32_t k) {
    if (type == CU_F32)
        return *(const float4 *)(row + (size_t)k * 4);
    uint2 v = *(const uint2 *)(row + (size_t)k * 2);
    float4 f;
    if (type == CU_BF16) {
        f.x = __uint_as_float(v.x << 16);
        f.y = __uint_as_float(v.x & 0xFFFF0000u);
        f.z = __uint_as_float(v.y << 16);
        f.w = __uint_as_float(v.y & 0xFFFF0000u);
    } else {
        f.x = f32_of_f16((uint16_t)v.x);
        f.y = f32_of_f16((uint16_t)(v.x >> 16));
        f.z = f32_of_f16((uint16_t)v.y);
        f.w = f32_of_f16((uint16_t)(v.y >> 16));
    }
    return f;
}

template <int TYPE> DEVICE void exact(const struct cu_matmul_args *m) {
    SHARED float sums[CU_CHAINS][16][EXACT_ROWS];
    uint32_t lane = threadIdx.x % 32, chain = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    struct cu_tiles slice = chain_tiles(m->n_in, chain);
    struct cu_pair o = pair_of(&m->pairs, blockIdx.x * 8 + g);
    grid_launch_next();
    const unsigned char *wa = weight_row(m, o.a, TYPE == CU_F32 ? 4 : 2),
                        *wb = weight_row(m, o.b, TYPE == CU_F32 ? 4 : 2);
    grid_wait();
    struct cu_rows r = rows_of(m);
    for (uint32_t row0 = blockIdx.y * EXACT_ROWS; row0 < r.n; row0 += gridDim.y * EXACT_ROWS) {
        uint32_t n = r.n - row0 < EXACT_ROWS ? r.n - row0 : EXACT_ROWS;
        const float *x[EXACT_ROWS];
        float a[EXACT_ROWS], b[EXACT_ROWS];
        UNROLL for (uint32_t i = 0; i < EXACT_ROWS;
                    i++) { // a row that does not exist: the first one, whose result is dropped
            x[i] = (const float *)m->x + (size_t)x_row(m, &r, row0 + (i < n ? i : 0u)) * m->ldx;
            a[i] = b[i] = 0;
        }
        for (uint32_t k = slice.first * CU_PAD + 4 * t; k < slice.end * CU_PAD; k += 16) {
            float4 va = exact_weights(wa, TYPE, k), vb = exact_weights(wb, TYPE, k);
            UNROLL for (uint32_t i = 0; i < EXACT_ROWS; i++) {
                float4 v = *(const float4 *)(x[i] + k);
                a[i] = exact_dot(a[i], va, v);
                b[i] = exact_dot(b[i], vb, v);
            }
        }
        UNROLL for (uint32_t i = 0; i < EXACT_ROWS; i++) {
            float sa = exact_join(a[i]), sb = exact_join(b[i]);
            if (t == 0) {
                sums[chain][g][i] = sa;
                sums[chain][g + 8][i] = sb;
            }
        }
        __syncthreads();
        if (threadIdx.x < 8 * EXACT_ROWS) {
            uint32_t i = threadIdx.x / 8, pair = threadIdx.x % 8;
            float sa = 0, sb = 0;
            UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) {
                sa += sums[c][pair][i];
                sb += sums[c][pair + 8][i];
            }
            if (i < n)
                finish(m, &r, row0 + i, pair_of(&m->pairs, blockIdx.x * 8 + pair), sa, sb);
        }
        __syncthreads();
    }
}

KERNEL(CU_THREADS, 2) k_exact_f32(PARAM(struct cu_matmul_args) m) {
    exact<CU_F32>(&m);
}
KERNEL(CU_THREADS, 2) k_exact_bf16(PARAM(struct cu_matmul_args) m) {
    exact<CU_BF16>(&m);
}
KERNEL(CU_THREADS, 2) k_exact_f16(PARAM(struct cu_matmul_args) m) {
    exact<CU_F16>(&m);
}
