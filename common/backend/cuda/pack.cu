/* Weights as files have them -> the order in which warps read them (args.h). Runs once for each
 * matrix, when it is loaded.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/pairs.h"

/* Elements k and k + 1 of an output, the first in the lower half, if they are in these rows. Zero
 * for elements of no matrix. */
DEVICE void pack_two(const struct cu_pack_args *a, uint32_t *to, uint32_t o, uint32_t k) {
    struct cu_output at = output_of(&a->pairs, o);
    bool there = o < outputs_of(&a->pairs);
    if (there && (at.mat != a->mat || at.row < a->first || at.row >= a->end))
        return;
    const uint16_t *w = (const uint16_t *)a->w + (size_t)(at.row - a->first) * a->n_in;
    *to = (there && k < a->n_in ? w[k] : 0u) |
          (there && k + 1 < a->n_in ? (uint32_t)w[k + 1] << 16 : 0u);
}

KERNEL(CU_THREADS, 1) k_pack(PARAM(struct cu_pack_args) a) {
    uint32_t lane = threadIdx.x % 32, g = lane / 4, t = lane % 4,
             step = blockIdx.y * 8 + threadIdx.x / 32;
    if (step >= a.steps)
        return;
    struct cu_pair o = pair_of(&a.pairs, blockIdx.x * 8 + g);
    uint32_t k = step * 16 + 2 * t;
    uint32_t *to = (uint32_t *)a.packed + (((size_t)blockIdx.x * a.steps + step) * 32 + lane) * 4;
    pack_two(&a, to, o.a, k);
    pack_two(&a, to + 1, o.b, k);
    pack_two(&a, to + 2, o.a, k + 8);
    pack_two(&a, to + 3, o.b, k + 8);
}
