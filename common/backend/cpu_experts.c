/* Experts on the CPU: each row's are chosen, and rows are grouped by expert, so that the weights of
 * each expert that the batch uses are read once, and no others. Experts add to a row in the order
 * of their numbers, whatever the other rows are.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "backend/cpu.h"

/* The experts of one row: the n_experts_used largest of logits [n_experts], ties to the smaller
 * number, weighted by the softmax over all experts; renormalised so that the weights sum to 1,
 * unless the model says not to. */
static void choose_experts(const struct device_shape *s, bool renormalise, float *logits,
                           uint32_t *chosen, float *weight) {
    float max = logits[0], sum = 0, of_chosen = 0;
    for (size_t x = 1; x < s->n_experts; x++)
        max = logits[x] > max ? logits[x] : max;
    for (size_t x = 0; x < s->n_experts; x++)
        sum += logits[x] = expf(logits[x] - max);
    for (size_t k = 0; k < s->n_experts_used; k++) {
        size_t best = 0;
        for (size_t x = 1; x < s->n_experts; x++)
            best = logits[x] > logits[best] ? x : best;
        chosen[k] = (uint32_t)best;
        of_chosen += weight[k] = logits[best] / sum;
        logits[best] = -1;
    }
    for (size_t k = 0; k < s->n_experts_used && renormalise; k++)
        weight[k] /= of_chosen;
}

void cpu_experts(struct device *d, float *y, const struct experts_op *o, const float *x) {
    struct cpu *c = (struct cpu *)d;
    const struct device_shape *s = &c->shape;
    struct cpu_workspace *ws = &c->ws;
    size_t dim = s->hidden_dim, used = s->n_experts_used, n_rows = c->step.n_rows;

    cpu_linear(c, ws->router, x, n_rows, o->router);
    for (size_t i = 0; i < n_rows; i++)
        choose_experts(s, o->renormalise, ws->router + i * s->n_experts, ws->expert_of + i * used,
                       ws->expert_weight + i * used);
    memset(y, 0, n_rows * dim * sizeof *y);
    for (size_t expert = 0; expert < s->n_experts; expert++) {
        size_t n = 0;
        for (size_t i = 0; i < n_rows * used; i++) {
            if (ws->expert_of[i] != expert)
                continue;
            memcpy(ws->expert_in + n * dim, x + i / used * dim, dim * sizeof *x);
            ws->expert_row[n++] = (uint32_t)i;
        }
        if (n == 0)
            continue;
        const struct linear *w = o->experts + 3 * expert;
        cpu_lap(c, PART_ROWS);
        cpu_gated(c, &(struct gated_op){.in = w, .ffn_dim = o->ffn_dim, .act = o->act},
                  ws->expert_in, n);
        cpu_linear(c, ws->expert_out, ws->ffn, n, &w[2]);
        for (size_t i = 0; i < n; i++) {
            size_t chosen = ws->expert_row[i];
            rows_add_scaled(y + chosen / used * dim, dim, ws->expert_out + i * dim, dim, 1, dim,
                            ws->expert_weight[chosen]);
        }
    }
    cpu_lap(c, PART_ROWS);
}
