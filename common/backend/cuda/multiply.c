/* The launches of norms, and of matrix products whose x is rounded to W's type, BF16 or F16.
 * Products of few rows and of many have kernels of their own; product.c has those with x in f32.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/cuda.h"

enum {
    FEW_ROWS = 64,     // from more rows on, tiles of 128 (bench/GPU.md)
    FEW_BLOCKS_SM = 2, // blocks of few rows on an SM
    FEW_NORM_ROWS = 2, // most rows that the product norms itself: every block norms all of them
    FEW_SHARED =
        100 << 10 // bytes of a block's sums and x that leave room for one of the next kernel
};

struct cu_norm cuda_norm_of(const struct norm *n) {
    struct cu_norm none = {.kind = CU_NORM_NONE};
    return n ? (struct cu_norm){n->weight, n->bias, n->eps, n->offset,
                                n->kind == NORM_LAYER ? CU_NORM_LAYER : CU_NORM_RMS}
             : none;
}

void cuda_run_norm(struct cuda_device *d, void *rounded, enum cu_type type, float *y,
                   const float *x, const struct norm *n, bool wanted) {
    struct cu_norm_args a = {.step = d->step,
                             .x = x,
                             .y = y,
                             .rounded = rounded,
                             .rounded_type = type,
                             .dim = (uint32_t)d->shape.hidden_dim,
                             .ldx = (uint32_t)d->ld_hidden,
                             .ldy = (uint32_t)d->ld_hidden,
                             .ld_rounded = (uint32_t)d->ld_hidden,
                             .wanted = wanted,
                             .norm = cuda_norm_of(n)};
    enum model_part part = d->clock.part;
    cuda_part(d, part == PART_HEAD ? part : PART_NORMS);
    cuda_run(d, d->k.norm, (struct cu_shape){.x = cuda_over(d->rows, 8), .early = true}, &a,
             sizeof a);
    cuda_part(d, part);
}

struct cuda_group cuda_group_of(const struct linear *const *l, size_t n) {
    struct cuda_group g = {
        .pairs = {.n_mats = (uint32_t)n}, .layout = l[0]->w.layout, .n_in = l[0]->w.n_in};
    for (size_t i = 0; i < n; i++) {
        g.pairs.n_out[i] = (uint32_t)l[i]->w.n_out;
        g.data[i] = l[i]->w.data;
        g.w[i] = &l[i]->w;
    }
    return g;
}

/* The launch of a product of few rows. Two blocks an SM go from tile to tile: while one joins its
 * chains, the other reads. All of x is in shared memory if it fits twice. */
static const struct cu_kernel *few_of(const struct cuda_device *d, struct cu_matmul_args *a,
                                      enum cu_type t, size_t rows, struct cu_shape *s) {
    size_t tiles = cu_tiles_of(&a->pairs), blocks = FEW_BLOCKS_SM * cu_info(d->c)->n_sms,
           room = cu_info(d->c)->shared_bytes - 4096;
    unsigned widest = CU_FEW_SHARED(32u, CU_FEW_STAGES) <= room ? 32 : 16, most = rows <= 8 ? 8
                                                                                  : rows <= 16
                                                                                      ? 16
                                                                                      : widest;
    unsigned slice = CU_FEW_SLICE(a->ld_w), all = CU_FEW_SHARED(most, slice);
    a->all_x = slice <= CU_FEW_STAGES || all <= (FEW_SHARED < room ? FEW_SHARED : room);
    s->x = (unsigned)(tiles < blocks ? tiles : blocks);
    s->y = cuda_over(rows, most);
    s->shared = CU_FEW_SHARED(most, a->all_x ? slice : CU_FEW_STAGES);
    return most == 8 ? d->k.few8[t] : most == 16 ? d->k.few16[t] : d->k.few32[t];
}

/* The launch of a product of many rows: on Hopper, one block an SM, which goes from tile to tile.
 */
static const struct cu_kernel *tile_of(const struct cuda_device *d, struct cu_matmul_args *a,
                                       enum cu_type t, size_t rows, struct cu_shape *s) {
    enum { CLUSTER = CU_WGMMA_X * CU_WGMMA_Y };
    size_t tiles = cu_tiles_of(&a->pairs);
    a->row_tiles = cuda_over(rows, CU_TILE);
    if (!d->k.tile_wgmma[t]) {
        s->x = a->row_tiles;
        s->y = cuda_over(tiles, CU_TILE / 16);
        s->shared = CU_TILE_SHARED;
        return d->k.tile[t];
    }
    unsigned all = cuda_over(a->row_tiles, CU_WGMMA_X) *
                   cuda_over(cuda_over(tiles, CU_WGMMA_OUTS / 16), CU_WGMMA_Y),
             most = cu_info(d->c)->n_sms / CLUSTER;
    s->x = (all < most ? all : most > 0 ? most : 1) * CLUSTER;
    s->y = 1;
    s->threads = CU_WGMMA_THREADS;
    s->shared = CU_WGMMA_SHARED;
    return d->k.tile_wgmma[t];
}

void cuda_multiply(struct cuda_device *d, struct cu_matmul_args *a, enum mat_layout layout,
                   size_t rows) {
    enum cu_type t = cuda_type(layout);
    struct cu_shape s = {.early = true};
    const struct cu_kernel *k;
    if (rows <= FEW_ROWS) {
        k = few_of(d, a, t, rows, &s);
    } else {
        k = tile_of(d, a, t, rows, &s);
    }
    cuda_run(d, k, s, a, sizeof *a);
}

void cuda_multiply_experts(struct cuda_device *d, struct cu_matmul_args *a,
                           enum mat_layout layout) {
    size_t n = d->shape.n_experts, of_expert = cuda_over(d->rows * d->shape.n_experts_used, n);
    struct cu_shape s = {.z = (unsigned)n, .early = true};
    const struct cu_kernel *k = few_of(d, a, cuda_type(layout), of_expert, &s);
    s.y = cuda_over(d->rows, 8) < CUDA_EXPERT_BLOCKS ? cuda_over(d->rows, 8) : CUDA_EXPERT_BLOCKS;
    a->offsets = d->offsets;
    a->expert_pairs = d->pairs;
    cuda_run(d, k, s, a, sizeof *a);
}

void cuda_multiply_hidden(struct cuda_device *d, struct cu_matmul_args *a, enum mat_layout layout,
                          const float *x, const struct norm *pre) {
    size_t shared = CU_FEW_NORM_SHARED(d->rows, d->ld_hidden), tiles = cu_tiles_of(&a->pairs),
           blocks = FEW_BLOCKS_SM * cu_info(d->c)->n_sms;
    a->ldx = (uint32_t)d->ld_hidden;
    a->x = x;
    if (d->type == CU_F32) {
        if (pre)
            cuda_run_norm(d, NULL, CU_F32, d->normed, x, pre, false);
        cuda_product(d, a, layout, &(struct cuda_x){pre ? d->normed : x, d->ld_hidden, 1, d->rows});
        return;
    }
    if (d->rows <= FEW_NORM_ROWS && shared <= FEW_SHARED) {
        a->norm = cuda_norm_of(pre);
        cuda_run(d, d->k.few_norm[cuda_type(layout)],
                 (struct cu_shape){.x = (unsigned)(tiles < blocks ? tiles : blocks),
                                   .shared = (unsigned)shared,
                                   .early = true},
                 a, sizeof *a);
        return;
    }
    cuda_run_norm(d, d->rounded, cuda_type(layout), NULL, x, pre, false);
    a->x = d->rounded;
    cuda_multiply(d, a, layout, d->rows);
}
