/* The parts of few.cu's kernels: prefetch of weights into registers, copies of x to shared memory,
 * and the chains' sums.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_FEW_H
#define BACKEND_CUDA_FEW_H

#include "backend/cuda/matmul.h"
#include "backend/cuda/norm.h"

enum { FEW_AHEAD = 16 }; // steps of 16 k whose weights are in flight: 8 KB a warp

/* A slice is used in groups of FEW_AHEAD steps; the last group may be shorter. While a group is
 * used, the next one is loaded: of the slice, or the first of the block's next tile. */
struct few_weights {
    const unsigned char *next; // the group after the current one
    uint32_t left;             // its steps; 0: there is none
    uint4 w[FEW_AHEAD];        // of the current group, replaced step by step
};

DEVICE void weights_load(struct few_weights *s, int step) {
    if ((uint32_t)step < s->left)
        s->w[step] = load_once16(s->next + 512 * step);
}

/* The group at `group` (in tiles of 64 k) of a tile; past the end of the slice: the first one of
 * the block's next tile. */
DEVICE void weights_aim(struct few_weights *s, const struct cu_matmul_args *m,
                        struct cu_tiles slice, uint32_t tile, uint32_t group) {
    if (group >= slice.end) {
        tile += gridDim.x;
        group = slice.first;
    }
    uint32_t steps = 4 * (slice.end - group);
    s->left = tile >= cu_tiles_of(&m->pairs) || group >= slice.end ? 0
              : steps < FEW_AHEAD                                  ? steps
                                                                   : (uint32_t)FEW_AHEAD;
    s->next = packed_tile(m, tile, 4 * group);
}

DEVICE void weights_begin(struct few_weights *s, const struct cu_matmul_args *m,
                          struct cu_tiles slice) {
    weights_aim(s, m, slice, blockIdx.x, slice.first);
    UNROLL for (int k = 0; k < FEW_AHEAD; k++) weights_load(s, k);
}

/* Before the group at `group` of a tile is used. */
DEVICE void weights_next(struct few_weights *s, const struct cu_matmul_args *m,
                         struct cu_tiles slice, uint32_t tile, uint32_t group) {
    weights_aim(s, m, slice, tile, group + FEW_AHEAD / 4);
}

/* Where a lane copies x from: of each 4 rows of x, piece lane % 8 of row lane / 8. */
template <int NT> struct few_x {
    const unsigned char *from[2 * NT]; // at k = 0; NULL: no such row
    uint32_t stage, tile, tiles_left; // that is used next; what is copied next, of the slice; tiles
                                      // of outputs it is still for
};

template <int NT>
DEVICE struct few_x<NT> few_x_of(const struct cu_matmul_args *m, const struct cu_rows *r,
                                 uint32_t row0) {
    struct few_x<NT> x;
    uint32_t lane = threadIdx.x % 32;
    UNROLL for (int i = 0; i < 2 * NT; i++) {
        uint32_t row = row0 + (uint32_t)i * 4 + lane / 8;
        x.from[i] = NULL;
        if (row < r->n)
            x.from[i] =
                (const unsigned char *)m->x + cu_x_at(x_row(m, r, row), 8 * (lane % 8), m->ldx) * 2;
    }
    x.stage = x.tile = x.tiles_left = 0;
    return x;
}

/* 64 k of all rows -> a stage [8 NT] of 128 bytes, piece p of row r at p ^ (r % 8), as in a block.
 */
template <int NT>
DEVICE void few_x_copy(const struct few_x<NT> *x, unsigned char *stage, uint32_t tile, bool there) {
    uint32_t lane = threadIdx.x % 32;
    if (there)
        UNROLL for (int i = 0; i < 2 * NT; i++) if (x->from[i]) {
            uint32_t row = (uint32_t)i * 4 + lane / 8, lines = (uint32_t)CU_TILE * CU_PAD * 2;
            unsigned char *to = stage + row * 128 + (lane % 8 ^ row % 8) * 16;
            // Piece lane % 8 of tile 0 is at cu_x_at; in the other tiles it is at the same place.
            copy_16(to, x->from[i] + (size_t)tile * lines, true);
        }
    copy_commit();
}

/* Advances the copy: to the next 64 k of the slice, or to its first ones, for the block's next tile
 * of outputs. */
template <int NT> DEVICE void few_x_advance(struct few_x<NT> *x, struct cu_tiles slice) {
    if (++x->tile < slice.end)
        return;
    x->tile = slice.first;
    x->tiles_left -= x->tiles_left > 0;
}

/* Copies the first stages, or all of the slice. The stages are a ring, which each of the block's
 * tiles of outputs goes through. */
template <int NT>
DEVICE void few_x_begin(struct few_x<NT> *x, unsigned char *mine, struct cu_tiles slice,
                        uint32_t n_stages, bool all, uint32_t n_tiles) {
    enum { STAGE = NT * 8 * 128 };
    x->tile = slice.first;
    x->tiles_left = slice.first < slice.end && blockIdx.x < n_tiles
                        ? (n_tiles - 1 - blockIdx.x) / gridDim.x + 1
                        : 0;
    x->stage = 0;
    if (all) {
        for (uint32_t t = slice.first; t < slice.end; t++)
            few_x_copy(x, mine + (t - slice.first) * STAGE, t, true);
        return;
    }
    for (uint32_t s = 0; s < n_stages; s++) {
        few_x_copy(x, mine + s * STAGE, x->tile, x->tiles_left > 0);
        few_x_advance(x, slice);
    }
}

/* Fills the stage that was just used with the data of CU_FEW_STAGES stages later. */
template <int NT>
DEVICE void few_x_next(struct few_x<NT> *x, unsigned char *mine, struct cu_tiles slice) {
    enum { STAGE = NT * 8 * 128 };
    few_x_copy(x, mine + x->stage * STAGE, x->tile, x->tiles_left > 0);
    few_x_advance(x, slice);
    x->stage = x->stage + 1 < CU_FEW_STAGES ? x->stage + 1 : 0;
}

/* Four steps of 16 k, weights in slots from `slot` on; x: row r at x + r * stride, its pieces at
 * piece ^ r where `placed`. Rows of the mma tile from n on are not read. The slots are filled
 * again. */
template <int TYPE, int NT>
DEVICE void few_multiply(float acc[NT][4], struct few_weights *w, int slot, const unsigned char *x,
                         uint32_t stride, bool placed, uint32_t n) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    UNROLL for (int s = 0; s < 4; s++) {
        uint32_t lo = 2 * (uint32_t)s, hi = lo + 1;
        lo = (placed ? lo ^ g : lo) * 16;
        hi = (placed ? hi ^ g : hi) * 16;
        uint4 a = w->w[slot + s];
        UNROLL for (uint32_t j = 0; j < NT; j++) {
            const unsigned char *row = x + (8 * j + g) * stride + 4 * t;
            uint32_t b0 = 8 * j + g < n ? *(const uint32_t *)(row + lo) : 0,
                     b1 = 8 * j + g < n ? *(const uint32_t *)(row + hi) : 0;
            mma_of(TYPE, acc[j], a.x, a.y, a.z, a.w, b0, b1);
        }
        weights_load(w, slot + s);
    }
}

/* The chains' sums -> sums [CU_CHAINS][16][NT * 8], which all threads then add and finish. */
template <int NT>
DEVICE void few_join(const struct cu_matmul_args *m, const struct cu_rows *r, uint32_t row0,
                     uint32_t tile, const float acc[NT][4], float *sums) {
    enum { ROWS = NT * 8, CHAIN = 16 * ROWS };
    uint32_t chain = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    UNROLL for (int j = 0; j < NT; j++) {
        float *to = sums + (chain * 16 + g) * ROWS + (uint32_t)j * 8 + 2 * t;
        *(float2 *)to = make_float2(acc[j][0], acc[j][1]);
        *(float2 *)(to + 8 * ROWS) = make_float2(acc[j][2], acc[j][3]);
    }
    __syncthreads();
    ROLLED for (uint32_t i = threadIdx.x; i < 8 * ROWS; i += CU_THREADS) {
        uint32_t row = i / 8, pair = i % 8;
        if (row0 + row >= r->n)
            continue;
        float a = 0, b = 0;
        UNROLL for (uint32_t c = 0; c < CU_CHAINS; c++) {
            a += sums[c * CHAIN + pair * ROWS + row];
            b += sums[c * CHAIN + (pair + 8) * ROWS + row];
        }
        finish(m, r, row0 + row, pair_of(&m->pairs, tile * 8 + pair), a, b);
    }
    __syncthreads();
}

#endif
