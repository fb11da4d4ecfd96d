/* Matrix products of the quantised formats that others publish, and of every quantised layout in
 * f32.
 *
 * k_quant*: weights are rounded to bf16 or f16 as they are read, x was rounded before, and mma.sync
 * multiplies. A block has 16 outputs and 8 * NT rows of x; its 8 warps are the chains. So sums have
 * the order of all products (args.h), and a row's bits do not depend on its batch.
 *
 * k_exact_quant: for --precise, and otherwise as exact.cu: f32, one fmaf after the other.
 *
 * k_round rounds x, and so do the norms.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/exact.h"
#include "backend/cuda/quad.h"
#include "backend/cuda/quant.h"

/* ---- x ---- */

/* Grid: (rows, ld_to / 2,048, rounded up); a thread has 8 elements, which are neighbours. */
KERNEL(CU_THREADS, 4) k_round(PARAM(struct cu_x_args) a) {
    grid_launch_next();
    grid_wait();
    uint32_t n = quant_x_rows(&a), row = blockIdx.x,
             k = (blockIdx.y * CU_THREADS + threadIdx.x) * 8;
    if (row >= n || k >= a.ld_to)
        return;
    const float *x = a.x + (size_t)row * a.ldx;
    bool aligned = quad_aligned(a.x, a.ldx);
    float4 low = quad_load(x, k, a.dim, aligned), high = quad_load(x, k + 4, a.dim, aligned);
    *(uint4 *)((uint16_t *)a.to + cu_x_at(row, k, a.ld_to)) =
        make_uint4(pack_as(a.type, low.x, low.y), pack_as(a.type, low.z, low.w),
                   pack_as(a.type, high.x, high.y), pack_as(a.type, high.z, high.w));
}

/* ---- weights, 16 k at a time ---- */

/* A row of a matrix, on its way through k, `step` inputs at a time. */
struct quant_walk {
    struct quant_row at;
    const unsigned char *codes; // of the row: its panel, at its bytes; or its first byte
    struct quant_scale scale;   // of the inputs before scale.end
    bool by_element;            // scales end inside a step, or inputs are in another order
};
DEVICE struct quant_walk quant_walk_of(struct quant_row at, uint32_t layout, uint32_t step) {
    const struct cu_quant *q = at.q;
    struct quant_walk w;
    w.at = at;
    w.by_element = layout < CU_I8 && (q->place || (q->group % step != 0 && q->group < q->n_in) ||
                                      (layout == CU_NF4 && (q->group | q->n_in) % step != 0));
    w.scale.end = 0;
    if (layout != CU_F8 && layout != CU_NF4)
        w.codes = q->data + at.row / QUANT_PANEL * q->panel_bytes + at.row % QUANT_PANEL * 4;
    else
        w.codes = q->data + at.row * q->panel_bytes;
    return w;
}

/* Elements k and k + 1, k even. table: of the matrix, in shared memory. */
template <int LAYOUT>
DEVICE float2 quant_two(const struct quant_walk *w, uint32_t k, const float *table) {
    const struct cu_quant *q = w->at.q;
    bool biased = LAYOUT != CU_F8 && LAYOUT != CU_NF4 && q->biases;
    if (k >= q->n_in)
        return make_float2(0, 0);
    bool second = k + 1 < q->n_in;
    if (w->by_element)
        return make_float2(quant_value(q, w->at.row, k),
                           second ? quant_value(q, w->at.row, k + 1) : 0);
    float a, b;
    if (LAYOUT == CU_G4 || LAYOUT == CU_K4) {
        uint32_t two = *(const uint16_t *)(w->codes + (k / 32 * 4 + k % 16 / 4) * 64 + k % 4);
        two >>= k % 32 < 16 ? 0 : 4;
        a = quant_dequantise(table[two & 15], &w->scale, biased);
        b = quant_dequantise(table[two >> 8 & 15], &w->scale, biased);
    } else if (LAYOUT == CU_G8 || LAYOUT == CU_K8) {
        uint32_t two = *(const uint16_t *)(w->codes + k / 4 * 64 + k % 4);
        a = quant_dequantise((float)(two & 255), &w->scale, biased);
        b = quant_dequantise((float)(two >> 8), &w->scale, biased);
    } else if (LAYOUT == CU_F8) {
        a = quant_e4m3(w->codes[k]) * w->scale.scale;
        b = second ? quant_e4m3(w->codes[k + 1]) * w->scale.scale : 0;
    } else {
        uint32_t two = w->codes[k / 2];
        a = table[two >> 4] * w->scale.scale;
        b = table[two & 15] * w->scale.scale;
    }
    return make_float2(a, second ? b : 0);
}

/* Words of the mma's A: k 2t and 2t + 1 of 16, and those of 8 later. */
template <int LAYOUT>
DEVICE uint2 quant_words(struct quant_walk *w, uint32_t k, uint32_t t, uint32_t type,
                         const float *table) {
    if (k >= w->scale.end && k < w->at.q->n_in && !w->by_element)
        w->scale = quant_scale_of(w->at.q, LAYOUT, w->at.row, k);
    float2 low = quant_two<LAYOUT>(w, k + 2 * t, table),
           high = quant_two<LAYOUT>(w, k + 8 + 2 * t, table);
    return make_uint2(pack_as(type, low.x, low.y), pack_as(type, high.x, high.y));
}

/* ---- the product ---- */

enum { QUANT_LD = 20 }; // floats from row to row of the chains' sums: 16 outputs

/* The first element of a row of x in its blocks. */
DEVICE const uint16_t *quant_x(const struct cu_matmul_args *m, uint32_t row) {
    return (const uint16_t *)m->x + cu_x_at(row, 0, m->ldx) - row % 8 * 8;
}
/* Two elements of it, k even. */
DEVICE uint32_t quant_x_two(const uint16_t *row, uint32_t row_number, uint32_t k) {
    return *(const uint32_t *)(row + (size_t)(k / CU_PAD) * CU_TILE * CU_PAD +
                               (k / 8 ^ row_number) % 8 * 8 + k % 8);
}

/* Adds the chains' sums in order, and finishes the outputs. */
template <int NT>
DEVICE void quant_join(const struct cu_matmul_args *m, const struct cu_rows *r, uint32_t row0,
                       const float *sums) {
    for (uint32_t i = threadIdx.x; i < 64 * NT; i += CU_THREADS) {
        uint32_t row = i / 8, pair = i % 8;
        float a = 0, b = 0;
        UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) {
            a += sums[(c * 8 * NT + row) * QUANT_LD + pair];
            b += sums[(c * 8 * NT + row) * QUANT_LD + pair + 8];
        }
        if (row0 + row < r->n)
            finish(m, r, row0 + row, pair_of(&m->pairs, blockIdx.x * 8 + pair), a, b);
    }
}

/* Grid: (tiles, rows / (8 NT), experts). */
template <int LAYOUT, int NT> DEVICE void quant_product(const struct cu_matmul_args *m) {
    SHARED float sums[CU_CHAINS * 8 * NT * QUANT_LD], tables[3 * 16];
    uint32_t lane = threadIdx.x % 32, chain = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    struct cu_tiles slice = chain_tiles(m->n_in, chain);
    grid_launch_next();
    grid_wait();
    struct cu_rows r = rows_of(m);
    if (r.n == 0)
        return;
    if (threadIdx.x < 16 * m->pairs.n_mats) {
        uint32_t mat = threadIdx.x / 16, i = threadIdx.x % 16;
        const void *of = m->expert_w ? m->expert_w[3 * blockIdx.z + m->expert_first + mat]
                         : mat == 0  ? m->w[0]
                         : mat == 1  ? m->w[1]
                                     : m->w[2];
        const struct cu_quant *q = (const struct cu_quant *)of;
        tables[threadIdx.x] = LAYOUT == CU_NF4 ? q->values[i] : (float)q->table[i];
    }
    __syncthreads();
    struct cu_pair o = pair_of(&m->pairs, blockIdx.x * 8 + g);
    struct quant_row a = quant_row_of(m, o.a), b = quant_row_of(m, o.b);
    for (uint32_t row0 = blockIdx.y * 8 * NT; row0 < r.n; row0 += gridDim.y * 8 * NT) {
        struct quant_walk wa = quant_walk_of(a, LAYOUT, 16), wb = quant_walk_of(b, LAYOUT, 16);
        const uint16_t *x[NT];
        uint32_t numbers[NT];
        float acc[NT][4] = {};
        UNROLL for (uint32_t j = 0; j < NT; j++) { // a row that does not exist: the first one
            uint32_t row = row0 + 8 * j + g;
            numbers[j] = x_row(m, &r, row < r.n ? row : row0);
            x[j] = quant_x(m, numbers[j]);
        }
        for (uint32_t k = slice.first * CU_PAD; k < slice.end * CU_PAD; k += 16) {
            uint2 va = quant_words<LAYOUT>(&wa, k, t, m->x_type, tables + 16 * a.mat),
                  vb = quant_words<LAYOUT>(&wb, k, t, m->x_type, tables + 16 * b.mat);
            UNROLL for (uint32_t j = 0; j < NT; j++) mma_of(
                m->x_type, acc[j], va.x, vb.x, va.y, vb.y, quant_x_two(x[j], numbers[j], k + 2 * t),
                quant_x_two(x[j], numbers[j], k + 8 + 2 * t));
        }
        UNROLL for (uint32_t j = 0; j < NT; j++) {
            float *to = sums + (chain * 8 * NT + 8 * j + 2 * t) * QUANT_LD + g;
            to[0] = acc[j][0];
            to[QUANT_LD] = acc[j][1];
            to[8] = acc[j][2];
            to[QUANT_LD + 8] = acc[j][3];
        }
        __syncthreads();
        quant_join<NT>(m, &r, row0, sums);
        __syncthreads();
    }
}

#define QUANT_KERNELS(name, layout)                                                                \
    KERNEL(CU_THREADS, 2) k_quant8_##name(PARAM(struct cu_matmul_args) m) {                        \
        quant_product<layout, 1>(&m);                                                              \
    }                                                                                              \
    KERNEL(CU_THREADS, 2) k_quant32_##name(PARAM(struct cu_matmul_args) m) {                       \
        quant_product<layout, 4>(&m);                                                              \
    }
QUANT_KERNELS(g4, CU_G4)
QUANT_KERNELS(g8, CU_G8)
QUANT_KERNELS(f8, CU_F8)
QUANT_KERNELS(nf4, CU_NF4)
QUANT_KERNELS(k4, CU_K4)
QUANT_KERNELS(k8, CU_K8)

/* ---- in f32 ---- */

/* Elements k to k + 3, k a multiple of 4; zeros from n_in on. */
DEVICE float4 quant_four(struct quant_walk *w, uint32_t k) {
    const struct cu_quant *q = w->at.q;
    uint32_t layout = q->layout;
    if (layout >= CU_I8 || w->by_element || k + 4 > q->n_in)
        return quant_load4(q, w->at.row, k);
    if (k >= w->scale.end)
        w->scale = quant_scale_of(q, layout, w->at.row, k);
    float v[4];
    bool bytes = layout == CU_G8 || layout == CU_K8;
    if (layout != CU_F8 && layout != CU_NF4) {
        uint32_t line = bytes ? k / 4 : k / 32 * 4 + k % 16 / 4,
                 word = *(const uint32_t *)(w->codes + line * 64);
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            uint32_t code = word >> 8 * i & 255;
            float value =
                bytes ? (float)code : (float)q->table[k % 32 < 16 ? code & 15 : code >> 4];
            v[i] = quant_dequantise(value, &w->scale, q->biases);
        }
    } else {
        UNROLL for (uint32_t i = 0; i < 4; i++) {
            uint32_t byte = layout == CU_F8 ? w->codes[k + i] : w->codes[(k + i) / 2];
            v[i] = (layout == CU_F8 ? quant_e4m3(byte) : q->values[i % 2 ? byte & 15 : byte >> 4]) *
                   w->scale.scale;
        }
    }
    float4 four = {v[0], v[1], v[2], v[3]};
    return four;
}

/* Grid: (tiles, rows / 8, experts). The sums of k_exact_f32 of the same values. */
KERNEL(CU_THREADS, 2) k_exact_quant(PARAM(struct cu_matmul_args) m) {
    SHARED float sums[CU_CHAINS][16][EXACT_ROWS];
    uint32_t lane = threadIdx.x % 32, chain = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    struct cu_tiles slice = chain_tiles(m.n_in, chain);
    grid_launch_next();
    grid_wait();
    struct cu_rows r = rows_of(&m);
    if (r.n == 0)
        return;
    struct cu_pair o = pair_of(&m.pairs, blockIdx.x * 8 + g);
    struct quant_row w[2] = {quant_row_of(&m, o.a), quant_row_of(&m, o.b)};
    for (uint32_t row0 = blockIdx.y * EXACT_ROWS; row0 < r.n; row0 += gridDim.y * EXACT_ROWS) {
        uint32_t n = r.n - row0 < EXACT_ROWS ? r.n - row0 : EXACT_ROWS;
        UNROLL for (uint32_t half = 0; half < 2; half++) {
            float acc[EXACT_ROWS] = {};
            struct quant_walk walk = quant_walk_of(w[half], w[half].q->layout, 4);
            for (uint32_t k = slice.first * CU_PAD + 4 * t; k < slice.end * CU_PAD; k += 16) {
                float4 v = quant_four(&walk, k);
                UNROLL for (uint32_t i = 0; i < EXACT_ROWS; i++) {
                    if (i >= n)
                        continue;
                    uint32_t row = x_row(&m, &r, row0 + i);
                    float4 x = *(const float4 *)((const float *)m.x + (size_t)row * m.ldx + k);
                    acc[i] = exact_dot(acc[i], v, x);
                }
            }
            UNROLL for (uint32_t i = 0; i < EXACT_ROWS; i++) {
                float sum = exact_join(acc[i]);
                if (t == 0)
                    sums[chain][g + 8 * half][i] = sum;
            }
        }
        __syncthreads();
        if (threadIdx.x < 8 * EXACT_ROWS) {
            uint32_t i = threadIdx.x / 8, pair = threadIdx.x % 8;
            float a = 0, b = 0;
            UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) {
                a += sums[c][pair][i];
                b += sums[c][pair + 8][i];
            }
            if (i < n)
                finish(&m, &r, row0 + i, pair_of(&m.pairs, blockIdx.x * 8 + pair), a, b);
        }
        __syncthreads();
    }
}
