/* Which outputs make the pairs of a matrix product (struct cu_pairs).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_PAIRS_H
#define BACKEND_CUDA_PAIRS_H

#include "backend/cuda/device.h"

struct cu_pair { // two outputs, counted over all matrices; past the last one: none
    uint32_t a, b;
};
struct cu_output { // an output's matrix, and its row there
    uint32_t mat, row;
};

DEVICE uint32_t outputs_of(const struct cu_pairs *p) {
    return p->n_out[0] + (p->n_mats > 1 ? p->n_out[1] : 0) + (p->n_mats > 2 ? p->n_out[2] : 0);
}

DEVICE struct cu_pair pair_of(const struct cu_pairs *p, uint32_t i) {
    struct cu_pair o = {i / 8 * 16 + i % 8, i / 8 * 16 + i % 8 + 8};
    if (p->pairing == CU_GATE_UP) {
        o.a = i < p->n_out[0] ? i : UINT32_MAX;
        o.b = i < p->n_out[0] ? p->n_out[0] + i : UINT32_MAX;
    } else if (p->pairing == CU_ROTATED) {
        uint32_t dim = p->head_dim, half = p->half, rest = (dim - 2 * half) / 2, d = i % (dim / 2);
        o.a = i / (dim / 2) * dim + (d < half ? d : half + d);
        o.b = o.a + (d < half ? half : rest);
    }
    return o;
}

/* For an output that does not exist: row 0 of some matrix. */
DEVICE struct cu_output output_of(const struct cu_pairs *p, uint32_t o) {
    struct cu_output at = {0, o};
    uint32_t n = p->n_out[0];
    if (p->n_mats > 1 && at.row >= n) {
        at.row -= n;
        at.mat = 1;
        n = p->n_out[1];
        if (p->n_mats > 2 && at.row >= n) {
            at.row -= n;
            at.mat = 2;
            n = p->n_out[2];
        }
    }
    at.row = at.row < n ? at.row : 0;
    return at;
}

#endif
