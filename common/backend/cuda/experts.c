/* A step's experts: the router's choice, the products of each expert with its rows, and their sums.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/cuda.h"

/* The rows' experts, their weights, and the pairs by expert. */
static bool run_route(struct cuda_device *d, const struct experts_op *o, const float *x) {
    struct cuda_group g = cuda_group_of(&o->router, 1);
    struct cu_matmul_args a = {.epilogue = CU_STORE, .y = d->router, .ldy = (uint32_t)d->ld_router};
    cuda_part(d, PART_MATMUL);
    if (!cuda_set_weights(d, &a, &g))
        return false;
    cuda_multiply_hidden(d, &a, g.layout, x, NULL);
    cuda_part(d, PART_ROWS);
    struct cu_route_args r = {.step = d->step,
                              .logits = d->router,
                              .ld = (uint32_t)d->ld_router,
                              .n_experts = (uint32_t)d->shape.n_experts,
                              .n_used = (uint32_t)d->shape.n_experts_used,
                              .renormalise = o->renormalise,
                              .weights = d->expert_weights,
                              .experts = d->experts,
                              .offsets = d->offsets,
                              .pairs = d->pairs};
    unsigned blocks = cuda_over(d->rows, 32);
    cuda_run(d, d->k.route, (struct cu_shape){.x = blocks, .threads = 1024, .early = true}, &r,
             sizeof r);
    if (blocks > 1)
        cuda_run(d, d->k.route_sort,
                 (struct cu_shape){.x = cuda_over(d->shape.n_experts, 8), .early = true}, &r,
                 sizeof r);
    return true;
}

/* expert_out = the experts' results, where all is of the device's type. */
static bool experts_rounded(struct cuda_device *d, const struct experts_op *o, const float *x) {
    const struct linear *first = o->experts;
    const void *const *gate_up = cuda_expert_table(d, o, 0, 2, first[0].w.layout),
                      *const *down_w = cuda_expert_table(d, o, 2, 1, first[2].w.layout);
    if (!gate_up || !down_w)
        return false;
    struct cu_matmul_args in = {.step = d->step,
                                .pairs = {.pairing = CU_GATE_UP,
                                          .n_out = {(uint32_t)o->ffn_dim, (uint32_t)o->ffn_dim},
                                          .n_mats = 2},
                                .n_in = (uint32_t)first[0].w.n_in,
                                .ld_w = (uint32_t)cuda_padded(first[0].w.n_in),
                                .x = d->rounded,
                                .ldx = (uint32_t)d->ld_hidden,
                                .epilogue = CU_GATED,
                                .out = d->expert_ffn,
                                .out_type = d->type,
                                .ld_out = (uint32_t)cuda_padded(o->ffn_dim),
                                .act = (uint32_t)o->act,
                                .expert_w = gate_up,
                                .n_used = (uint32_t)d->shape.n_experts_used};
    cuda_run_norm(d, d->rounded, d->type, NULL, x, NULL, false);
    cuda_multiply_experts(d, &in, first[0].w.layout);
    struct cu_matmul_args down = {.step = d->step,
                                  .pairs = {.n_out = {(uint32_t)first[2].w.n_out}, .n_mats = 1},
                                  .n_in = (uint32_t)o->ffn_dim,
                                  .ld_w = (uint32_t)cuda_padded(o->ffn_dim),
                                  .x = d->expert_ffn,
                                  .ldx = in.ld_out,
                                  .epilogue = CU_STORE,
                                  .y = d->expert_out,
                                  .ldy = (uint32_t)d->ld_hidden,
                                  .expert_w = down_w,
                                  .expert_first = 2};
    cuda_multiply_experts(d, &down, first[2].w.layout);
    return true;
}

void cuda_experts(struct device *device, float *y, const struct experts_op *o, const float *x) {
    struct cuda_device *d = cuda_of(device);
    if (cuda_skips(d) || !run_route(d, o, x))
        return;
    cuda_part(d, PART_MATMUL);
    if (!(d->type == CU_F32 ? cuda_experts_f32(d, o, x) : experts_rounded(d, o, x)))
        return;
    cuda_part(d, PART_ROWS);
    struct cu_combine_args c = {.step = d->step,
                                .y = y,
                                .x = d->expert_out,
                                .weights = d->expert_weights,
                                .experts = d->experts,
                                .dim = (uint32_t)d->shape.hidden_dim,
                                .ldy = (uint32_t)d->ld_hidden,
                                .ldx = (uint32_t)d->ld_hidden,
                                .n_used = (uint32_t)d->shape.n_experts_used};
    cuda_run(d, d->k.combine, (struct cu_shape){.x = (unsigned)d->rows, .early = true}, &c,
             sizeof c);
}
