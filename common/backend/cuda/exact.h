/* What the f32 products of plain and of quantised weights share (exact.cu, quant.cu): rows of x of
 * a block, and the order of sums. The 8 warps of a block are the chains; lane (g, t) adds, of every
 * 16 k, 4t to 4t + 3.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_EXACT_H
#define BACKEND_CUDA_EXACT_H

#include "backend/cuda/matmul.h"

enum { EXACT_ROWS = 8 };

DEVICE float exact_dot(float acc, float4 w, float4 x) {
    acc = fmaf(w.x, x.x, acc);
    acc = fmaf(w.y, x.y, acc);
    acc = fmaf(w.z, x.z, acc);
    return fmaf(w.w, x.w, acc);
}

/* The sum of the four lanes of a row of W. */
DEVICE float exact_join(float acc) {
    acc += __shfl_xor_sync(ALL_LANES, acc, 1);
    return acc + __shfl_xor_sync(ALL_LANES, acc, 2);
}

#endif
