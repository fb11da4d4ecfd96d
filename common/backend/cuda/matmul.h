/* The parts that the matrix products share: the outputs of a tile, the rows that it multiplies, and
 * what is done with a finished sum.
 *
 * An mma tile has 16 outputs in pairs (struct cu_pairs). A thread has both of a pair in its
 * registers: a gate and its up, or two dimensions that are rotated together.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_MATMUL_H
#define BACKEND_CUDA_MATMUL_H

#include "backend/cuda/approx.h"
#include "backend/cuda/pairs.h"
#include "backend/cuda/store.h"

/* The row of W of an output, as it is in the file. For an output that does not exist: any row; its
 * result is dropped. */
DEVICE const unsigned char *weight_row(const struct cu_matmul_args *m, uint32_t o, uint32_t size) {
    struct cu_output at = output_of(&m->pairs, o);
    const void *w = m->w[at.mat];
    if (m->expert_w)
        w = m->expert_w[3 * blockIdx.z + m->expert_first + at.mat];
    return (const unsigned char *)w + (size_t)at.row * m->ld_w * size;
}

/* The same of quantised matrices. */
struct quant_row {
    const struct cu_quant *q;
    uint32_t row, mat; // of the matrix; which of the product's
};
DEVICE struct quant_row quant_row_of(const struct cu_matmul_args *m, uint32_t o) {
    struct cu_output at = output_of(&m->pairs, o);
    const void *w = at.mat == 0 ? m->w[0] : at.mat == 1 ? m->w[1] : m->w[2];
    uint32_t first = at.mat == 0   ? m->first_row[0]
                     : at.mat == 1 ? m->first_row[1]
                                   : m->first_row[2];
    if (m->expert_w) {
        w = m->expert_w[3 * blockIdx.z + m->expert_first + at.mat];
        first = 0;
    }
    struct quant_row r = {(const struct cu_quant *)w, first + at.row, at.mat};
    return r;
}

DEVICE float bias_of(const struct cu_matmul_args *m, uint32_t o) {
    struct cu_output at = output_of(&m->pairs, o);
    const float *b = at.mat == 0 ? m->bias[0] : at.mat == 1 ? m->bias[1] : m->bias[2];
    return b ? b[at.row] : 0;
}

/* Lane's part of a packed tile of 16 outputs, at a step. */
DEVICE const unsigned char *packed_tile(const struct cu_matmul_args *m, uint32_t tile,
                                        uint32_t step) {
    const void *w = m->expert_w ? m->expert_w[3 * blockIdx.z + m->expert_first] : m->packed;
    return (const unsigned char *)w + ((size_t)tile * (m->ld_w / 16) + step) * 512 +
           threadIdx.x % 32 * 16;
}

/* The rows that a block multiplies: of the batch, or of its expert. */
struct cu_rows {
    uint32_t n, offset;
    const uint32_t *pairs; // of the expert, or NULL
};
DEVICE struct cu_rows rows_of(const struct cu_matmul_args *m) {
    struct cu_rows r = {m->step.header->n_rows, 0, NULL};
    if (m->wanted) {
        r.n =
            m->step.header->n_want > m->wanted_first ? m->step.header->n_want - m->wanted_first : 0;
        r.n = r.n < m->most ? r.n : m->most;
    }
    if (m->expert_w) {
        r.offset = m->offsets[blockIdx.z];
        r.n = m->offsets[blockIdx.z + 1] - r.offset;
        if (!m->expert_w[3 * blockIdx.z + m->expert_first]) // of another launch
            r.n = 0;
        r.pairs = m->expert_pairs + r.offset;
    }
    return r;
}
DEVICE uint32_t x_row(const struct cu_matmul_args *m, const struct cu_rows *r, uint32_t i) {
    return !r->pairs ? i : m->n_used ? r->pairs[i] / m->n_used : r->offset + i;
}
DEVICE uint32_t y_row(const struct cu_matmul_args *m, const struct cu_rows *r, uint32_t i) {
    return !r->pairs ? i : m->n_used ? r->offset + i : r->pairs[i];
}

/* The tiles of CU_PAD k that a chain adds: [first, end). */
struct cu_tiles {
    uint32_t first, end;
};
DEVICE struct cu_tiles chain_tiles(uint32_t n_in, uint32_t chain) {
    uint32_t tiles = (n_in + CU_PAD - 1) / CU_PAD, per = (tiles + CU_CHAINS - 1) / CU_CHAINS;
    struct cu_tiles s = {chain * per < tiles ? chain * per : tiles, 0};
    s.end = s.first + per < tiles ? s.first + per : tiles;
    return s;
}

/* One output of q, k or v; `o` counts through all heads. */
DEVICE void finish_qkv_output(const struct cu_matmul_args *m, struct cu_place place, uint32_t row,
                              uint32_t o, float f) {
    uint32_t dim = m->kv.head_dim, head = o / dim, d = o % dim;
    if (head < m->n_heads)
        m->y[(size_t)row * m->ldy + o] = f;
    else if (head < m->n_heads + m->kv.n_kv_heads)
        store_key_at(&m->kv, place, head - m->n_heads, d, f);
    else
        store_value_at(&m->kv, place, head - m->n_heads - m->kv.n_kv_heads, d, f);
}

DEVICE void finish_qkv(const struct cu_matmul_args *m, uint32_t row, struct cu_pair o, float a,
                       float b) {
    uint32_t dim = m->kv.head_dim, head = o.a / dim, i = o.a % dim;
    struct cu_place place = {NULL, 0};
    if (head >= m->n_heads)
        place = store_place(&m->kv, &m->step, row);
    if (i < m->rotary_half && head < m->n_heads + m->kv.n_kv_heads) {
        float c = m->cosines[(size_t)row * m->rotary_half + i],
              s = m->sines[(size_t)row * m->rotary_half + i];
        float rotated = a * c - b * s;
        b = b * c + a * s;
        a = rotated;
    }
    finish_qkv_output(m, place, row, o.a, a);
    finish_qkv_output(m, place, row, o.b, b);
}

DEVICE void finish_output(const struct cu_matmul_args *m, uint32_t row, uint32_t o, float sum) {
    size_t at = (size_t)row * m->ldy + o;
    if (m->epilogue == CU_ADD) {
        m->y[at] += m->scale * sum;
    } else if (m->epilogue == CU_TIMES) {
        m->y[at] = approx_act(m->act, m->y[at]) * sum;
    } else if (m->epilogue == CU_ACT) {
        store_x(m->out, m->out_type, m->ld_out, row, o, approx_act(m->act, sum));
    } else {
        if (m->divisor > 0)
            sum /= m->divisor;
        if (m->softcap > 0)
            sum = m->softcap * approx_tanh(sum / m->softcap);
        m->y[at] = sum;
    }
}

/* The sums of a pair for the i-th of the block's rows. */
DEVICE void finish(const struct cu_matmul_args *m, const struct cu_rows *r, uint32_t i,
                   struct cu_pair o, float a, float b) {
    uint32_t n = outputs_of(&m->pairs), row = y_row(m, r, i);
    a = o.a < n ? a + bias_of(m, o.a) : a;
    b = o.b < n ? b + bias_of(m, o.b) : b;
    if (m->epilogue == CU_GATED) {
        if (o.a < n)
            store_x(m->out, m->out_type, m->ld_out, row, o.a, approx_act(m->act, a) * b);
    } else if (m->epilogue == CU_QKV) {
        if (o.b < n)
            finish_qkv(m, row, o, a, b);
    } else {
        if (o.a < n)
            finish_output(m, row, o.a, a);
        if (o.b < n)
            finish_output(m, row, o.b, b);
    }
}

#endif
