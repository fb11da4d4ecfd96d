/* Four neighbouring f32 of a row at a time, in one access where the row is 16-byte aligned.
 *
 * A row has n elements. Elements past its end are loaded as zeros and are not stored.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_QUAD_H
#define BACKEND_CUDA_QUAD_H

#include "backend/cuda/device.h"

/* Whether every row of p [.., ld] is 16-byte aligned. */
DEVICE bool quad_aligned(const float *p, uint32_t ld) {
    return (uintptr_t)p % 16 == 0 && ld % 4 == 0;
}

/* Elements i to i + 3 of row [n]; i is a multiple of 4. */
DEVICE float4 quad_load(const float *row, uint32_t i, uint32_t n, bool aligned) {
    if (aligned && i + 4 <= n)
        return *(const float4 *)(row + i);
    float4 v;
    v.x = i < n ? row[i] : 0;
    v.y = i + 1 < n ? row[i + 1] : 0;
    v.z = i + 2 < n ? row[i + 2] : 0;
    v.w = i + 3 < n ? row[i + 3] : 0;
    return v;
}
DEVICE void quad_store(float *row, uint32_t i, uint32_t n, bool aligned, float4 v) {
    if (aligned && i + 4 <= n) {
        *(float4 *)(row + i) = v;
        return;
    }
    if (i < n)
        row[i] = v.x;
    if (i + 1 < n)
        row[i + 1] = v.y;
    if (i + 2 < n)
        row[i + 2] = v.z;
    if (i + 3 < n)
        row[i + 3] = v.w;
}

/* y + scale * x: multiplied, then added. */
DEVICE float4 quad_add(float4 y, float4 x, float scale) {
    y.x += scale * x.x;
    y.y += scale * x.y;
    y.z += scale * x.z;
    y.w += scale * x.w;
    return y;
}

#endif
