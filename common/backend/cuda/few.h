/* The parts of few.cu's kernels: weights on their way to registers, x on its way to shared memory, and the chains' sums.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_FEW_H
#define BACKEND_CUDA_FEW_H

#include "backend/cuda/matmul.h"
#include "backend/cuda/norm.h"

/* Packed weights of MT tiles, AHEAD steps of 16 k on their way, in slots step % AHEAD of the slice. */
template <int MT, int AHEAD> struct few_weights {
    const unsigned char *next[MT]; // where the step after those on their way is
    uint32_t left;                 // steps from there to the end of the slice
    uint4 w[AHEAD][MT];
};

template <int MT, int AHEAD> DEVICE void weights_load(struct few_weights<MT, AHEAD> *s, int slot) {
    if (s->left == 0)
        return;
    s->left--;
    UNROLL for (int i = 0; i < MT; i++) {
        s->w[slot][i] = load_once16(s->next[i]);
        s->next[i] += 512;
    }
}

/* The packed tile of the block's i-th 16 outputs; past the last one: the last, whose result nobody takes. */
template <int MT> DEVICE uint32_t few_tile(const struct cu_matmul_args *m, int i) {
    uint32_t n = outputs_of(&m->pairs), last = (n - 1) / 16, tile = blockIdx.x * MT + (uint32_t)i;
    return tile < last ? tile : last;
}

template <int MT, int AHEAD>
DEVICE void weights_begin(struct few_weights<MT, AHEAD> *s, const struct cu_matmul_args *m, struct cu_tiles slice) {
    s->left = 4 * (slice.end - slice.first);
    UNROLL for (int i = 0; i < MT; i++)
        s->next[i] = packed_tile(m, few_tile<MT>(m, i), 4 * slice.first);
    UNROLL for (int k = 0; k < AHEAD; k++)
        weights_load(s, k);
}

/* Where a lane copies x from: of each 4 rows of x, piece lane % 8 of row lane / 8. */
template <int NT> struct few_x {
    const unsigned char *from[2 * NT]; // at k = 0; NULL: no such row
};

template <int NT> DEVICE struct few_x<NT> few_x_of(const struct cu_matmul_args *m, const struct cu_rows *r, uint32_t row0) {
    struct few_x<NT> x;
    uint32_t lane = threadIdx.x % 32;
    UNROLL for (int i = 0; i < 2 * NT; i++) {
        uint32_t row = row0 + (uint32_t)i * 4 + lane / 8;
        x.from[i] = NULL;
        if (row < r->n) {
            row = x_row(m, r, row);
            x.from[i] = (const unsigned char *)m->x + cu_x_at(row, 8 * (lane % 8), m->ldx) * 2;
        }
    }
    return x;
}

/* 64 k of all rows -> a stage [8 NT] of 128 bytes; piece p of row r at p ^ (r % 8), as in a block. */
template <int NT> DEVICE void few_x_copy(const struct few_x<NT> *x, unsigned char *stage, uint32_t tile, uint32_t end) {
    uint32_t lane = threadIdx.x % 32;
    if (tile < end)
        UNROLL for (int i = 0; i < 2 * NT; i++)
            if (x->from[i]) {
                uint32_t row = (uint32_t)i * 4 + lane / 8;
                const unsigned char *from = x->from[i] + (size_t)tile * CU_TILE * CU_PAD * 2;
                copy_16(stage + row * 128 + (lane % 8 ^ row % 8) * 16, from, true);
            }
    copy_commit();
}

/* Four steps of 16 k, weights in slots from `slot` on; x: row r at x + r * stride, its pieces at piece ^ r where `placed`. Rows of the
 * mma tile from n on are not read. The slots are filled again. */
template <int TYPE, int NT, int MT, int AHEAD>
DEVICE void few_multiply(float acc[MT][NT][4], struct few_weights<MT, AHEAD> *w, int slot, const unsigned char *x, uint32_t stride,
                         bool placed, uint32_t n = 8 * NT) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    UNROLL for (int s = 0; s < 4; s++) {
        uint32_t lo = placed ? (2 * (uint32_t)s ^ g) * 16 : 32 * (uint32_t)s, hi = placed ? ((2 * (uint32_t)s + 1) ^ g) * 16 : 32 * (uint32_t)s + 16;
        uint32_t b[NT][2];
        UNROLL for (uint32_t j = 0; j < NT; j++) {
            const unsigned char *row = x + (8 * j + g) * stride + 4 * t;
            b[j][0] = 8 * j + g < n ? *(const uint32_t *)(row + lo) : 0;
            b[j][1] = 8 * j + g < n ? *(const uint32_t *)(row + hi) : 0;
        }
        UNROLL for (int i = 0; i < MT; i++)
            UNROLL for (int j = 0; j < NT; j++) {
                uint4 a = w->w[slot + s][i];
                mma_of(TYPE, acc[i][j], a.x, a.y, a.z, a.w, b[j][0], b[j][1]);
            }
        weights_load(w, slot + s);
    }
}

/* The chains' sums -> sums [CU_CHAINS][MT * 16][NT * 8], which all threads then add and finish. */
template <int NT, int MT>
DEVICE void few_join(const struct cu_matmul_args *m, const struct cu_rows *r, uint32_t row0, const float acc[MT][NT][4], float *sums) {
    enum { ROWS = NT * 8, CHAIN = MT * 16 * ROWS };
    uint32_t chain = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    UNROLL for (int i = 0; i < MT; i++)
        UNROLL for (int j = 0; j < NT; j++) {
            float *to = sums + ((chain * MT + (uint32_t)i) * 16 + g) * ROWS + (uint32_t)j * 8 + 2 * t;
            *(float2 *)to = make_float2(acc[i][j][0], acc[i][j][1]);
            *(float2 *)(to + 8 * ROWS) = make_float2(acc[i][j][2], acc[i][j][3]);
        }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < MT * 8 * ROWS; i += CU_THREADS) {
        uint32_t row = i / (MT * 8), pair = i % (MT * 8), out = pair / 8 * 16 + pair % 8;
        if (row0 + row >= r->n)
            continue;
        float a = 0, b = 0;
        UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) {
            a += sums[c * CHAIN + out * ROWS + row];
            b += sums[c * CHAIN + (out + 8) * ROWS + row];
        }
        finish(m, r, row0 + row, pair_of(&m->pairs, blockIdx.x * MT * 8 + pair), a, b);
    }
}

#endif
