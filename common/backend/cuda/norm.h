/* RMSNorm and LayerNorm of a row, by one warp for the whole row or by 8 warps with a slice each.
 *
 * Both add in one order, which depends on dim alone. The row is cut into CU_CHAINS slices of whole
 * tiles of CU_PAD elements, as matrix products cut n_in. The 32 lanes of a warp share a slice: lane
 * l has elements 128 j + 4 l to 128 j + 4 l + 3, and adds its own in ascending order. Then lanes
 * are added in pairs, 16 apart, 8 apart, down to 1; then the slices' sums from the first to the
 * last. A LayerNorm adds twice: the elements for their mean, then the squared distances from it.
 *
 * An element is normed with the CPU's operations in the CPU's order (common/kernels/rows.c).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_NORM_H
#define BACKEND_CUDA_NORM_H

#include "backend/cuda/quad.h"

enum norm_sum { NORM_PLAIN, NORM_SQUARES }; // of x, of (x - mean)^2

DEVICE float norm_add(float sum, float x, enum norm_sum what, float mean) {
    float d = x - mean;
    return sum + (what == NORM_SQUARES ? d * d : x);
}
DEVICE float norm_add4(float sum, float4 v, enum norm_sum what, float mean) {
    sum = norm_add(sum, v.x, what, mean);
    sum = norm_add(sum, v.y, what, mean);
    sum = norm_add(sum, v.z, what, mean);
    return norm_add(sum, v.w, what, mean);
}

/* Slice `chain` of a row [dim]. */
struct norm_slice {
    uint32_t begin, end;
};
DEVICE struct norm_slice norm_slice_of(uint32_t chain, uint32_t dim) {
    uint32_t tiles = (dim + CU_PAD - 1) / CU_PAD, n = (tiles + CU_CHAINS - 1) / CU_CHAINS * CU_PAD;
    struct norm_slice s;
    s.begin = chain * n < dim ? chain * n : dim;
    s.end = s.begin + n < dim ? s.begin + n : dim;
    return s;
}

/* A lane's part of a slice's sum, plus the lane's elements that are not in a whole quad of an
 * aligned x. */
DEVICE float norm_rest(float sum, const float *x, struct norm_slice s, uint32_t lane, bool aligned,
                       enum norm_sum what, float mean) {
    if (aligned && s.end % 4 == 0)
        return sum;
    for (uint32_t i = s.begin + 4 * lane; i < s.end; i += 128)
        for (uint32_t e = i; (!aligned || i + 4 > s.end) && e < i + 4 && e < s.end; e++)
            sum = norm_add(sum, x[e], what, mean);
    return sum;
}

/* The sum over the lanes, in each lane. */
DEVICE float norm_lanes(float sum) {
    UNROLL for (int far = 16; far > 0; far /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, far);
    return sum;
}

/* The sum of slice `chain` of x [dim] by one warp, all of which calls this and gets it. mean is 0
 * for an RMSNorm's squares, and not used for a plain sum. */
DEVICE float norm_slice_sum(const float *x, uint32_t chain, uint32_t lane, uint32_t dim,
                            enum norm_sum what, float mean) {
    enum { AHEAD = 4 }; // loads in flight
    struct norm_slice s = norm_slice_of(chain, dim);
    bool aligned = (uintptr_t)x % 16 == 0;
    float sum = 0;
    for (uint32_t i = s.begin + 4 * lane; aligned && i + 4 <= s.end; i += 128 * AHEAD) {
        float4 v[AHEAD];
        UNROLL for (uint32_t n = 0; n < AHEAD; n++) if (i + 128 * n + 4 <= s.end) v[n] =
            *(const float4 *)(x + i + 128 * n);
        UNROLL for (uint32_t n = 0; n < AHEAD; n++) if (i + 128 * n + 4 <= s.end) sum =
            norm_add4(sum, v[n], what, mean);
    }
    return norm_lanes(norm_rest(sum, x, s, lane, aligned, what, mean));
}

/* The sum of a row, from its slices' sums [CU_CHAINS]. */
DEVICE float norm_join(const float *sums) {
    float sum = sums[0];
    UNROLL for (uint32_t c = 1; c < CU_CHAINS; c++) sum += sums[c];
    return sum;
}

DEVICE float norm_mean(float sum, uint32_t dim) {
    return sum / (float)dim;
}
/* The factor of a row; sum: of its squares, or of its squared distances from the mean. */
DEVICE float norm_scale(float sum, uint32_t dim, float eps) {
    return 1.0f / sqrtf(sum / (float)dim + eps);
}

/* The sum of x [dim] by one warp, all of which calls this and gets it: the slices side by side, for
 * more loads in flight. */
DEVICE float norm_warp_sum(const float *x, uint32_t lane, uint32_t dim, enum norm_sum what,
                           float mean) {
    bool aligned = (uintptr_t)x % 16 == 0;
    uint32_t n = norm_slice_of(0, dim).end; // the largest
    float sums[CU_CHAINS];
    UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) sums[c] = 0;
    for (uint32_t i = 4 * lane; aligned && i < n; i += 128) {
        float4 v[CU_CHAINS];
        UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) if (c * n + i + 4 <= dim) v[c] =
            *(const float4 *)(x + c * n + i);
        UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) if (c * n + i + 4 <= dim) sums[c] =
            norm_add4(sums[c], v[c], what, mean);
    }
    if (!aligned || dim % 4)
        UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) sums[c] =
            norm_rest(sums[c], x, norm_slice_of(c, dim), lane, aligned, what, mean);
    UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) sums[c] = norm_lanes(sums[c]);
    return norm_join(sums);
}

/* An element whose value is x, weight w and bias b, normed. */
DEVICE float norm_element(float x, float w, float b, float scale, float mean,
                          const struct cu_norm *n) {
    if (n->kind == CU_NORM_RMS)
        return x * scale * (w + n->offset);
    if (n->kind == CU_NORM_LAYER) {
        float y = (x - mean) * scale * w;
        return n->bias ? y + b : y;
    }
    return x;
}
DEVICE float4 norm_element4(float4 x, float4 w, float4 b, float scale, float mean,
                            const struct cu_norm *n) {
    x.x = norm_element(x.x, w.x, b.x, scale, mean, n);
    x.y = norm_element(x.y, w.y, b.y, scale, mean, n);
    x.z = norm_element(x.z, w.z, b.z, scale, mean, n);
    x.w = norm_element(x.w, w.w, b.w, scale, mean, n);
    return x;
}

/* Element i of a row, whose value is x, normed. */
DEVICE float norm_apply(float x, uint32_t i, float scale, float mean, const struct cu_norm *n) {
    float w = n->kind != CU_NORM_NONE ? n->weight[i] : 0,
          b = n->kind == CU_NORM_LAYER && n->bias ? n->bias[i] : 0;
    return norm_element(x, w, b, scale, mean, n);
}

/* Elements i to i + 3 of a row [dim], normed, i a multiple of 4; zeros from dim on. */
DEVICE float4 norm_apply4(float4 x, uint32_t i, uint32_t dim, float scale, float mean,
                          const struct cu_norm *n) {
    float4 w = {0, 0, 0, 0}, b = w;
    if (n->kind != CU_NORM_NONE)
        w = quad_load(n->weight, i, dim, quad_aligned(n->weight, 0));
    if (n->kind == CU_NORM_LAYER && n->bias)
        b = quad_load(n->bias, i, dim, quad_aligned(n->bias, 0));
    x = norm_element4(x, w, b, scale, mean, n);
    x.x = i < dim ? x.x : 0; // else (0 - mean) * scale * 0 may be -0 or NaN
    x.y = i + 1 < dim ? x.y : 0;
    x.z = i + 2 < dim ? x.z : 0;
    x.w = i + 3 < dim ? x.w : 0;
    return x;
}

#endif
