/* Matrix products where activations are in f32: with --precise, and where matrices are quantised or
 * of several types. Each matrix has the kernel of its layout, which wants x in a form of its own.
 *
 *     layout                        kernels          x
 *     F32, and all with --precise   k_exact_*        f32
 *     BF16, F16                     k_few*, k_tile*  rounded to that type
 *     our own, of 8 and 4 bits      k_int*           codes of 15 bits: the CPU's bits
 *     those of other formats        k_quant*         rounded to quant_type, as W is
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/cuda.h"
#include "base/mem.h"

enum {
    FEW_INT_ROWS = 64, // more rows: a warp has a tile of outputs of its own
    SUPER = 256        // inputs that share a scale of x
};

enum cuda_way cuda_way_of(const struct cuda_device *d, enum mat_layout layout) {
    bool precise = d->shape.precise;
    if (layout >= MAT_I8)
        return precise ? CUDA_EXACT_QUANT : CUDA_INT;
    if (layout >= MAT_G4)
        return precise ? CUDA_EXACT_QUANT : CUDA_QUANT;
    return precise || layout == MAT_F32 ? CUDA_EXACT : CUDA_MMA;
}

/* ---- weights ---- */

static bool set_plain(struct cuda_device *d, struct cu_matmul_args *a, const struct cuda_group *g) {
    if (g->both) {
        a->w[0] = cuda_plain(d, g->data[0], g->layout,
                             (size_t)g->pairs.n_out[0] + g->pairs.n_out[1], g->n_in);
        a->w[1] = (const unsigned char *)a->w[0] +
                  (size_t)g->pairs.n_out[0] * a->ld_w * cuda_size(cuda_type(g->layout));
        return a->w[0] != NULL;
    }
    for (size_t i = 0; i < g->pairs.n_mats; i++)
        if (!(a->w[i] = cuda_plain(d, g->data[i], g->layout, g->pairs.n_out[i], g->n_in)))
            return false;
    return true;
}

bool cuda_set_weights(struct cuda_device *d, struct cu_matmul_args *a, const struct cuda_group *g) {
    a->step = d->step;
    a->pairs = g->pairs;
    a->n_in = (uint32_t)g->n_in;
    a->ld_w = (uint32_t)cuda_padded(g->n_in);
    switch (cuda_way_of(d, g->layout)) {
    case CUDA_MMA:
        a->packed = cuda_packed(d, g);
        return a->packed != NULL;
    case CUDA_EXACT:
        return set_plain(d, a, g);
    default:
        break;
    }
    for (size_t i = 0; i < g->pairs.n_mats; i++) {
        a->first_row[i] = g->both && i > 0 ? g->pairs.n_out[0] : 0;
        if (!(a->w[i] = cuda_quant(d, g->w[i])))
            return false;
    }
    return true;
}

/* ---- x ---- */

/* x as the kernels of `layout` read it. */
static void set_x(struct cuda_device *d, struct cu_matmul_args *a, enum mat_layout layout,
                  const struct cuda_x *x) {
    enum cuda_way way = cuda_way_of(d, layout);
    size_t ld = cuda_padded(a->n_in);
    struct cu_x_args c = {.step = d->step,
                          .x = x->x,
                          .to = d->rounded,
                          .scales = d->x_scales,
                          .dim = a->n_in,
                          .ldx = (uint32_t)x->ldx,
                          .ld_to = (uint32_t)ld,
                          .type = way == CUDA_QUANT ? d->quant_type : cuda_type(layout),
                          .times = (uint32_t)x->times,
                          .wanted = a->wanted,
                          .wanted_first = a->wanted_first,
                          .most = a->most};
    unsigned rows = (unsigned)(x->rows * x->times);
    a->x_type = c.type;
    a->x_scales = d->x_scales;
    a->x = d->rounded;
    if (way == CUDA_EXACT || way == CUDA_EXACT_QUANT) {
        a->x = x->x;
        a->ldx = (uint32_t)x->ldx;
    } else if (way == CUDA_INT) {
        c.ld_to = a->ldx = (uint32_t)(2 * ld);
        cuda_run(d, d->k.int_x, (struct cu_shape){.x = rows, .early = true}, &c, sizeof c);
    } else {
        a->ldx = (uint32_t)ld;
        cuda_run(d, d->k.round,
                 (struct cu_shape){.x = rows, .y = cuda_over(ld, 8 * CU_THREADS), .early = true},
                 &c, sizeof c);
    }
}

/* ---- launches ---- */

static const struct cu_kernel *of_few(const struct cuda_device *d, enum mat_layout layout,
                                      size_t rows, unsigned *of_block) {
    unsigned i = (unsigned)(layout - (layout >= MAT_I8 ? MAT_I8 : MAT_G4));
    *of_block = rows <= 8 ? 8 : 32;
    if (layout >= MAT_I8)
        return rows <= 8 ? d->k.int8[i] : d->k.int32[i];
    return rows <= 8 ? d->k.quant8[i] : d->k.quant32[i];
}

void cuda_product(struct cuda_device *d, struct cu_matmul_args *a, enum mat_layout layout,
                  const struct cuda_x *x) {
    enum cuda_way way = cuda_way_of(d, layout);
    size_t tiles = cu_tiles_of(&a->pairs);
    struct cu_shape s = {.x = (unsigned)tiles, .y = cuda_over(x->rows, 8), .early = true};
    const struct cu_kernel *k = d->k.exact_quant;
    unsigned of_block;
    set_x(d, a, layout, x);
    if (way == CUDA_MMA) {
        cuda_multiply(d, a, layout, x->rows);
        return;
    }
    if (way == CUDA_EXACT) {
        k = d->k.exact[cuda_type(layout)];
    } else if (way == CUDA_INT && x->rows > FEW_INT_ROWS) {
        k = d->k.int_many[layout - MAT_I8];
        s.x = cuda_over(x->rows, 32);
        s.y = cuda_over(tiles, 8);
    } else if (way != CUDA_EXACT_QUANT) {
        k = of_few(d, layout, x->rows, &of_block);
        s.y = cuda_over(x->rows, of_block);
    }
    cuda_run(d, k, s, a, sizeof *a);
}

/* ---- experts ---- */

/* The product of `n_mats` matrices of each expert, from number a->expert_first on: a launch for
 * each layout that they have. */
static bool experts_product(struct cuda_device *d, const struct experts_op *o,
                            struct cu_matmul_args *a, const struct cuda_x *x) {
    size_t n = d->shape.n_experts, of_expert = cuda_over(d->rows * d->shape.n_experts_used, n);
    bool done[MAT_LAYOUTS] = {false};
    for (size_t i = 0; i < n; i++) {
        enum mat_layout layout = o->experts[3 * i + a->expert_first].w.layout;
        struct cu_matmul_args one = *a;
        unsigned of_block;
        if (done[layout])
            continue;
        done[layout] = true;
        enum cuda_way way = cuda_way_of(d, layout);
        one.expert_w = cuda_expert_table(d, o, a->expert_first, a->pairs.n_mats, layout);
        if (!one.expert_w)
            return false;
        set_x(d, &one, layout, x);
        if (way == CUDA_MMA) {
            cuda_multiply_experts(d, &one, layout);
            continue;
        }
        struct cu_shape s = {.x = cu_tiles_of(&a->pairs), .z = (unsigned)n, .early = true};
        const struct cu_kernel *k = way == CUDA_EXACT ? d->k.exact[cuda_type(layout)]
                                    : way == CUDA_EXACT_QUANT
                                        ? d->k.exact_quant
                                        : of_few(d, layout, of_expert, &of_block);
        s.y =
            cuda_over(d->rows, 8) < CUDA_EXPERT_BLOCKS ? cuda_over(d->rows, 8) : CUDA_EXPERT_BLOCKS;
        cuda_run(d, k, s, &one, sizeof one);
    }
    return true;
}

/* Whether every expert's gate and up are of one layout. */
static bool joined(const struct experts_op *o, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (o->experts[3 * i].w.layout != o->experts[3 * i + 1].w.layout)
            return false;
    return true;
}

bool cuda_experts_f32(struct cuda_device *d, const struct experts_op *o, const float *x) {
    const struct linear *first = o->experts;
    const struct cuda_x in = {x, d->ld_hidden, 1, d->rows},
                        inner = {d->expert_ffn, cuda_padded(o->ffn_dim), d->shape.n_experts_used,
                                 d->rows};
    struct cu_matmul_args a = {
        .step = d->step,
        .pairs = {.n_out = {(uint32_t)o->ffn_dim, (uint32_t)o->ffn_dim}, .n_mats = 1},
        .n_in = (uint32_t)first[0].w.n_in,
        .ld_w = (uint32_t)cuda_padded(first[0].w.n_in),
        .epilogue = CU_STORE,
        .out = d->expert_ffn,
        .out_type = CU_F32,
        .ld_out = (uint32_t)inner.ldx,
        .y = d->expert_ffn,
        .ldy = (uint32_t)inner.ldx,
        .act = (uint32_t)o->act,
        .offsets = d->offsets,
        .expert_pairs = d->pairs,
        .n_used = (uint32_t)d->shape.n_experts_used};
    if (joined(o, d->shape.n_experts)) {
        a.pairs.pairing = CU_GATE_UP;
        a.pairs.n_mats = 2;
        a.epilogue = CU_GATED;
        if (!experts_product(d, o, &a, &in))
            return false;
    } else {
        if (!experts_product(d, o, &a, &in))
            return false;
        a.expert_first = 1;
        a.epilogue = CU_TIMES;
        if (!experts_product(d, o, &a, &in))
            return false;
    }
    struct cu_matmul_args down = {.step = d->step,
                                  .pairs = {.n_out = {(uint32_t)first[2].w.n_out}, .n_mats = 1},
                                  .n_in = (uint32_t)o->ffn_dim,
                                  .ld_w = (uint32_t)cuda_padded(o->ffn_dim),
                                  .epilogue = CU_STORE,
                                  .y = d->expert_out,
                                  .ldy = (uint32_t)d->ld_hidden,
                                  .offsets = d->offsets,
                                  .expert_pairs = d->pairs,
                                  .expert_first = 2};
    return experts_product(d, o, &down, &inner);
}
