/* Matrix products of many rows of x by mma.sync, in tiles of 128 outputs by 128 rows of x. Hopper
 * has tile_wgmma.cu instead.
 *
 * A warp has 16 outputs, whose packed weights it reads straight into registers, 3 times 64 k ahead.
 * All warps share x, which is copied to shared memory in blocks of 128 rows by 64 k, STAGES - 2
 * blocks ahead of their use.
 *
 * A chain ends where few.cu's does: its sum is added to the total, and the next begins from zero.
 * So a row has the same bits in both kernels.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/tile.h"

enum { X_BLOCK = CU_TILE * CU_PAD * 2 /* bytes */, STAGES = CU_TILE_STAGES, RING = 4 };

/* A warp's weights of 64 k. */
struct tile_weights {
    uint4 w[4];
};
DEVICE void tile_load(struct tile_weights *w, const unsigned char *from, bool there) {
    if (there)
        UNROLL for (int s = 0; s < 4; s++) w->w[s] = *(const uint4 *)(from + 512 * s);
}

/* Every thread copies its 16-byte pieces of a block of x. */
DEVICE void tile_copy(unsigned char *to, const unsigned char *from, bool there) {
    for (uint32_t i = threadIdx.x * 16; there && i < X_BLOCK; i += CU_THREADS * 16)
        copy_16(to + i, from + i, true);
    copy_commit();
}

/* 64 k of 16 outputs by 128 rows of x: acc [16 tiles of 8 rows][4]. `first`: from zero. */
template <int TYPE>
DEVICE void tile_multiply(float acc[64], const struct tile_weights *w, const unsigned char *x,
                          bool first) {
    uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    if (first)
        UNROLL for (int i = 0; i < 64; i++) acc[i] = 0;
    UNROLL for (uint32_t s = 0; s < 4; s++) UNROLL for (uint32_t j = 0; j < CU_TILE / 8; j++) {
        const unsigned char *row = x + (8 * j + g) * 128 + 4 * t;
        uint32_t b0 = *(const uint32_t *)(row + ((2 * s) ^ g) * 16),
                 b1 = *(const uint32_t *)(row + ((2 * s + 1) ^ g) * 16);
        mma_of(TYPE, acc + 4 * j, w->w[s].x, w->w[s].y, w->w[s].z, w->w[s].w, b0, b1);
    }
}

template <int TYPE> DEVICE void tile(const struct cu_matmul_args *m) {
    SHARED_DYNAMIC(stages);
    uint32_t warp = threadIdx.x / 32, n_tiles = m->ld_w / CU_PAD,
             per = (n_tiles + CU_CHAINS - 1) / CU_CHAINS;
    uint32_t out0 = blockIdx.y * (CU_TILE / 16) + warp, last = cu_tiles_of(&m->pairs) - 1;
    const unsigned char *w = packed_tile(m, out0 < last ? out0 : last, 0);
    struct tile_weights ring[RING];
    grid_launch_next();
    UNROLL for (uint32_t k = 0; k < RING - 1; k++)
        tile_load(&ring[k], w + (size_t)k * 2048, k < n_tiles);
    grid_wait();
    struct cu_rows r = rows_of(m);
    uint32_t row0 = blockIdx.x * CU_TILE;
    if (row0 >= r.n)
        return;
    const unsigned char *x = (const unsigned char *)m->x + (size_t)blockIdx.x * n_tiles * X_BLOCK;
    float acc[64], total[64];
    UNROLL for (int i = 0; i < 64; i++) total[i] = 0;
    for (uint32_t k = 0; k < STAGES - 2; k++)
        tile_copy(stages + k * X_BLOCK, x + (size_t)k * X_BLOCK, k < n_tiles);
    uint32_t in_chain = 0;
    for (uint32_t k = 0; k < n_tiles; k += RING)
        UNROLL for (uint32_t i = 0; i < RING; i++) {
            uint32_t at = k + i, ahead = at + STAGES - 2;
            if (at >= n_tiles)
                continue;
            copy_wait(STAGES - 3);
            __syncthreads(); // all see the block, and have finished with the one that is replaced
                             // next
            tile_copy(stages + ahead % STAGES * X_BLOCK, x + (size_t)ahead * X_BLOCK,
                      ahead < n_tiles);
            tile_multiply<TYPE>(acc, &ring[i], stages + at % STAGES * X_BLOCK, in_chain == 0);
            tile_load(&ring[(i + RING - 1) % RING], w + (size_t)(at + RING - 1) * 2048,
                      at + RING - 1 < n_tiles);
            if (++in_chain == per || at + 1 == n_tiles) {
                UNROLL for (int c = 0; c < 64; c++) total[c] += acc[c];
                in_chain = 0;
            }
        }
    copy_wait(0);
    __syncthreads(); // all have used the last block: the totals take the place of x
    struct tile_out o = {m, &r, (float *)stages + warp * (CU_FINISH_BYTES / 4), row0, out0};
    tile_finish(&o, total);
}

KERNEL(CU_THREADS, 1) k_tile_bf16(PARAM(struct cu_matmul_args) m) {
    tile<CU_BF16>(&m);
}
KERNEL(CU_THREADS, 1) k_tile_f16(PARAM(struct cu_matmul_args) m) {
    tile<CU_F16>(&m);
}
