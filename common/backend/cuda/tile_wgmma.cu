/* Matrix products of many rows of x on Hopper (sm_90a), in tiles of CU_WGMMA_OUTS outputs by 128
 * rows of x. Arithmetic limits the speed.
 *
 * One warp of the last warpgroup copies: blocks of x and packed weights of 64 k, as bulk copies
 * into a ring of CU_WGMMA_STAGES stages. A warpgroup has 64 outputs. It reads its weights from
 * shared memory into registers, and wgmma multiplies them by the block of x. An mbarrier says that
 * a stage is full, another one that all have used it: no barrier of the whole block is in the loop,
 * so one warpgroup finishes its outputs while the other multiplies.
 *
 * The blocks of a cluster have neighbouring tiles, CU_WGMMA_X of rows by CU_WGMMA_Y of outputs.
 * Each copies a part of what several need into the shared memory of all of these. A block goes from
 * tile to tile; its copies run ahead into the next tile while it finishes one.
 *
 * A chain ends where few.cu's does: its sum is added to the total, and the next begins from zero. A
 * row has the same bits in both kernels, because mma.sync and wgmma add 16 products alike;
 * tests/gpu/bits.cu checks that on a GPU.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/bulk.h"
#include "backend/cuda/tile.h"
#include "backend/cuda/wgmma.h"

#ifdef CU_WGMMA

enum {
    GROUPS = CU_WGMMA_OUTS / 64,
    STAGES = CU_WGMMA_STAGES,
    STEP = 2, // 16 k whose weights are loaded together: half a stage
    CLUSTER_X = CU_WGMMA_X,
    CLUSTER_Y = CU_WGMMA_Y,
    CLUSTER = CLUSTER_X * CLUSTER_Y,
    SHARERS = CLUSTER_X + CLUSTER_Y - 1, // blocks that a block copies to, itself included
    MMA_TILES = CU_WGMMA_OUTS / 16,
    X_BYTES = CU_TILE * CU_PAD * 2,
    W_BYTES = 16 * CU_PAD * 2, // of an mma tile
    STAGE_BYTES = X_BYTES + MMA_TILES * W_BYTES
};

/* Where a block is in its cluster, and its parts of shared memory. */
struct wide {
    unsigned char *stages;
    uint64_t *full, *empty; // [STAGES]
    float *sums;            // [MMA_TILES] parts of CU_FINISH_BYTES
    uint32_t rank, x, y;    // in the cluster
    uint32_t n_steps;       // of 64 k
    uint32_t n_x, n_tiles;  // tiles of rows, and all, of a whole cluster
};

/* The stage that is next, and the parity of its turn. */
struct ring {
    uint32_t stage, parity;
};
DEVICE void ring_next(struct ring *r) {
    if (++r->stage == STAGES) {
        r->stage = 0;
        r->parity ^= 1;
    }
}

DEVICE struct wide wide_of(const struct cu_matmul_args *m, unsigned char *shared) {
    struct wide w;
    uint32_t rows = m->row_tiles, outs = (cu_tiles_of(&m->pairs) + MMA_TILES - 1) / MMA_TILES;
    w.stages = shared;
    w.sums = (float *)(shared + STAGES * STAGE_BYTES);
    w.full = (uint64_t *)(shared + STAGES * STAGE_BYTES + MMA_TILES * CU_FINISH_BYTES);
    w.empty = w.full + STAGES;
    w.rank = CLUSTER > 1 ? cluster_rank() : 0;
    w.x = w.rank % CLUSTER_X;
    w.y = w.rank / CLUSTER_X;
    w.n_steps = m->ld_w / CU_PAD;
    w.n_x = (rows + CLUSTER_X - 1) / CLUSTER_X;
    w.n_tiles = w.n_x * ((outs + CLUSTER_Y - 1) / CLUSTER_Y);
    return w;
}
DEVICE uint32_t tile_rows(const struct wide *w, uint32_t tile) { // number of its block of rows
    return tile % w->n_x * CLUSTER_X + w->x;
}
DEVICE uint32_t tile_outs(const struct wide *w, uint32_t tile) { // its first mma tile
    return (tile / w->n_x * CLUSTER_Y + w->y) * MMA_TILES;
}

/* ---- the warp that copies ---- */

DEVICE void copy_to(unsigned char *to, const unsigned char *from, uint32_t bytes, uint64_t *full,
                    uint16_t blocks) {
    if (CLUSTER > 1)
        bulk_copy_each(to, from, bytes, full, blocks);
    else
        bulk_copy(to, from, bytes, full);
}

/* Waits until the stage is free, and starts the copies of this block's part of its weights: a lane
 * an mma tile. Outputs that do not exist: those of the last tile. */
DEVICE void copy_weights(const struct wide *w, const struct cu_matmul_args *m, struct ring at,
                         uint32_t tile, uint32_t step) {
    uint32_t lane = threadIdx.x % 32, mma_tile = lane * CLUSTER_X + w->x,
             from = tile_outs(w, tile) + mma_tile, last = cu_tiles_of(&m->pairs) - 1;
    barrier_wait(&w->empty[at.stage], at.parity ^ 1);
    __syncwarp(); // a lane that has nothing to copy must not miss a turn
    if (lane == 0)
        barrier_arrive_expect(&w->full[at.stage], STAGE_BYTES);
    from = from < last ? from : last;
    if (mma_tile < MMA_TILES)
        copy_to(
            w->stages + at.stage * STAGE_BYTES + X_BYTES + mma_tile * W_BYTES,
            (const unsigned char *)m->packed + ((size_t)from * w->n_steps + step) * (size_t)W_BYTES,
            W_BYTES, &w->full[at.stage], (uint16_t)(((1u << CLUSTER_X) - 1) << w->y * CLUSTER_X));
}

/* Starts the copy of this block's part of x. Rows that do not exist: those of the last block. */
DEVICE void copy_x(const struct wide *w, const struct cu_matmul_args *m, struct ring at,
                   uint32_t tile, uint32_t step) {
    enum { PART = X_BYTES / CLUSTER_Y };
    uint32_t rows = tile_rows(w, tile), blocks = 0;
    UNROLL for (uint32_t i = 0; i < CLUSTER_Y; i++) blocks |= 1u << (i * CLUSTER_X + w->x);
    rows = rows < m->row_tiles ? rows : m->row_tiles - 1;
    if (threadIdx.x % 32 == 0)
        copy_to(w->stages + at.stage * STAGE_BYTES + w->y * PART,
                (const unsigned char *)m->x + ((size_t)rows * w->n_steps + step) * X_BYTES +
                    w->y * PART,
                PART, &w->full[at.stage], (uint16_t)blocks);
}

/* The weights of the first stages are copied before the previous kernel has ended. */
DEVICE void copy_tiles(const struct wide *w, const struct cu_matmul_args *m) {
    struct ring at = {0, 0}, x = {0, 0};
    uint32_t first = blockIdx.x / CLUSTER, ahead = 0;
    for (; ahead < STAGES && ahead < w->n_steps && first < w->n_tiles; ahead++) {
        copy_weights(w, m, at, first, ahead);
        ring_next(&at);
    }
    grid_wait();
    for (uint32_t i = 0; i < ahead; i++) {
        copy_x(w, m, x, first, i);
        ring_next(&x);
    }
    for (uint32_t tile = first; tile < w->n_tiles; tile += gridDim.x / CLUSTER)
        for (uint32_t step = tile == first ? ahead : 0; step < w->n_steps; step++) {
            copy_weights(w, m, at, tile, step);
            copy_x(w, m, at, tile, step);
            ring_next(&at);
        }
}

/* ---- the warps that multiply ---- */

/* What a warp uses next, and what it has not yet said to be used. */
struct use {
    struct ring at;
    uint32_t done; // stage
};

/* A warp's weights of half a stage, and where that half of x is. */
struct step_weights {
    uint4 w[STEP];
    const unsigned char *x;
};
DEVICE void step_take(struct step_weights *s, const struct wide *w, struct use *u, bool second) {
    uint32_t first = second ? STEP : 0; // in 16 k
    const unsigned char *stage = w->stages + u->at.stage * STAGE_BYTES,
                        *mine =
                            stage + X_BYTES + threadIdx.x / 32 * W_BYTES + threadIdx.x % 32 * 16;
    if (!second)
        barrier_wait(&w->full[u->at.stage], u->at.parity);
    UNROLL for (uint32_t i = 0; i < STEP; i++) s->w[i] = *(const uint4 *)(mine + 512 * (first + i));
    s->x = stage + 32 * first;
    if (second)
        ring_next(&u->at);
}

template <int TYPE>
DEVICE void step_multiply(float acc[64], const struct step_weights *s, bool first) {
    wgmma_fence();
    UNROLL for (int i = 0; i < STEP; i++)
        wgmma_128<TYPE>(acc, s->w[i], s->x + 32 * i, !first || i > 0);
    wgmma_commit();
}

/* The warp has used a stage: it says so to all blocks that copy there. */
DEVICE void stage_done(const struct wide *w, struct use *u) {
    uint32_t lane = threadIdx.x % 32;
    uint64_t *empty = &w->empty[u->done];
    __syncwarp();
    if (CLUSTER == 1) {
        if (lane == 0)
            barrier_arrive(empty);
    } else if (lane < SHARERS) {
        uint32_t other = lane - CLUSTER_X; // the rows of blocks, without this one
        other += other >= w->y;
        barrier_arrive_at(empty,
                          lane < CLUSTER_X ? w->y * CLUSTER_X + lane : other * CLUSTER_X + w->x);
    }
    if (++u->done == STAGES)
        u->done = 0;
}

/* The sum of a chain of n stages -> acc. a has the weights of the first half. Those of the next
 * half are read while one multiplies. more: another chain of this tile follows; a takes its first
 * half.
 */
template <int TYPE>
DEVICE void chain_multiply(float acc[64], struct step_weights *a, const struct wide *w,
                           struct use *u, uint32_t n, bool more) {
    struct step_weights b;
    step_multiply<TYPE>(acc, a, true);
    ROLLED for (uint32_t i = 1; i < n; i++) {
        step_take(&b, w, u, true);
        step_multiply<TYPE>(acc, &b, false);
        wgmma_wait(1); // of the half before: its registers are free
        step_take(a, w, u, false);
        step_multiply<TYPE>(acc, a, false);
        wgmma_wait(1);
        stage_done(w, u);
    }
    step_take(&b, w, u, true);
    step_multiply<TYPE>(acc, &b, false);
    wgmma_wait(1);
    if (more)
        step_take(a, w, u, false);
    wgmma_wait(0);
    stage_done(w, u);
}

template <int TYPE>
DEVICE void multiply_tiles(const struct wide *w, const struct cu_matmul_args *m) {
    uint32_t per = (w->n_steps + CU_CHAINS - 1) / CU_CHAINS;
    struct use u = {{0, 0}, 0};
    grid_wait();
    struct cu_rows r = rows_of(m);
    for (uint32_t tile = blockIdx.x / CLUSTER; tile < w->n_tiles; tile += gridDim.x / CLUSTER) {
        float total[64];
        struct step_weights a;
        UNROLL for (int i = 0; i < 64; i++) total[i] = 0;
        step_take(&a, w, &u, false);
        ROLLED for (uint32_t left = w->n_steps; left > 0;) {
            float acc[64];
            uint32_t n = left < per ? left : per;
            left -= n;
            chain_multiply<TYPE>(acc, &a, w, &u, n, left > 0);
            UNROLL for (int i = 0; i < 64; i++) total[i] += acc[i];
        }
        uint32_t warp = threadIdx.x / 32;
        struct tile_out o = {m, &r, w->sums + warp * (CU_FINISH_BYTES / 4),
                             tile_rows(w, tile) * CU_TILE, tile_outs(w, tile) + warp};
        tile_finish(&o, total);
    }
}

template <int TYPE> DEVICE void tile_wgmma(const struct cu_matmul_args *m) {
    SHARED_DYNAMIC(shared);
    struct wide w = wide_of(m, shared);
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < STAGES; i++) {
            barrier_init(&w.full[i], 1);
            barrier_init(&w.empty[i], SHARERS * MMA_TILES);
        }
        barriers_ready();
    }
    grid_launch_next();
    if (CLUSTER > 1)
        cluster_sync();
    else
        __syncthreads();
    if (threadIdx.x >= GROUPS * 128) {
        registers_fewer(GROUPS == 2 ? 40 : 32);
        if (threadIdx.x < GROUPS * 128 + 32)
            copy_tiles(&w, m);
        else
            grid_wait();
    } else {
        registers_more(GROUPS == 2 ? 232 : 160);
        multiply_tiles<TYPE>(&w, m);
    }
    if (CLUSTER > 1) // other blocks still arrive at this one's mbarriers
        cluster_sync();
}

KERNEL_CLUSTER(CU_WGMMA_THREADS, CU_WGMMA_X *CU_WGMMA_Y)
k_tile_wgmma_bf16(PARAM(struct cu_matmul_args) m) {
    tile_wgmma<CU_BF16>(&m);
}
KERNEL_CLUSTER(CU_WGMMA_THREADS, CU_WGMMA_X *CU_WGMMA_Y)
k_tile_wgmma_f16(PARAM(struct cu_matmul_args) m) {
    tile_wgmma<CU_F16>(&m);
}
#endif
