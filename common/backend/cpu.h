/* The CPU as a device: what cpu.c (opening, memory), cpu_step.c (a step) and cpu_experts.c share.
 * Private to them, and to tests.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CPU_H
#define BACKEND_CPU_H

#include "backend/ops.h"

/* Memory of one step, beside x, h and y of struct device; f32 but for expert_of, expert_row and
 * scratch. */
struct cpu_workspace {
    float *qkv;                                         // [max_rows, cpu_qkv_dim]
    float *attn;                                        // [max_rows, n_heads * v_dim] what o reads
    float *ffn;                                         // [max_rows, ffn_dim] what down reads
    float *router;                                      // [max_rows, n_experts]
    float *expert_in, *expert_out;                      // [max_rows, hidden_dim]
    float *expert_weight;                               // [max_rows, n_experts_used]
    uint32_t *expert_of;                                // [max_rows, n_experts_used]
    uint32_t *expert_row;                               // [max_rows] rows of one expert
    float *cosines[DEVICE_ROPES], *sines[DEVICE_ROPES]; // [max_rows, rope_half]
    void *scratch;                                      // of the kernels
};

struct cpu {
    struct device device; // first, so that either pointer is the other
    struct device_shape shape;
    struct pool *pool;
    struct cpu_workspace ws;
    void *ws_memory;
    struct step step; // since begin
    double lap;       // when the last part of a step ended
};

static inline size_t cpu_qkv_dim(const struct device_shape *s) { // of a row of q, k and v
    return s->n_heads * s->k_dim + s->n_kv_heads * (s->k_dim + s->v_dim);
}

/* Adds the time since the last call to this part. About ten calls a layer, 30 ns each. */
void cpu_lap(struct cpu *c, enum model_part part);

/* y [n_rows, n_out] (stride n_out) = x [n_rows, n_in] (stride n_in) W^T + bias */
void cpu_linear(struct cpu *c, float *y, const float *x, size_t n_rows, const struct linear *l);
/* ws.ffn [n_rows, ffn_dim] = the activations of x [n_rows, hidden_dim] */
void cpu_gated(struct cpu *c, const struct gated_op *o, const float *x, size_t n_rows);

/* The operations of struct ops. */
void cpu_begin(struct device *d, const struct step *s);
void cpu_norm(struct device *d, float *y, const float *x, const struct norm *n);
void cpu_qkv(struct device *d, const struct qkv_op *o, const float *x);
void cpu_attend(struct device *d, const struct attend_op *o);
void cpu_ffn_in(struct device *d, const struct gated_op *o, const float *x);
void cpu_project(struct device *d, float *y, enum device_source from, const struct linear *l,
                 bool add, float scale);
void cpu_experts(struct device *d, float *y, const struct experts_op *o, const float *x);
void cpu_add(struct device *d, float *y, const float *x, float scale);
void cpu_fetch(struct device *d, float *host, const float *x);
int cpu_head(struct device *d, const struct head_op *o, float *logits, float *hidden,
             struct err *e);

#endif
