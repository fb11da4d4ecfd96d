/* Attention over keys and values: see mix.h.
 *
 *     q, k, v = W in (+ bias); q and k normed and rotated; k and v stored in the row's page
 *     x += scale * W_o softmax(attn_scale q k^T) v
 *
 * Each row sees all positions up to its own, or those within the layer's window. In a bidirectional
 * model it sees as many after it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/internal.h"
#include "model/load.h"
#include "model/mix.h"

static void load_attention(struct loader *l, struct layer *y, size_t i) {
    const struct spec *s = l->s;
    const struct family_names *n = l->names;
    size_t q_dim = s->n_heads * s->head_dim, kv_dim = s->n_kv_heads * s->head_dim,
           dim = s->hidden_dim;
    if (s->fused_qkv) {
        y->qkv[0] = load_linear(l, n->qkv, i, 0, q_dim + 2 * kv_dim, dim, s->qkv_bias);
    } else {
        y->qkv[0] = load_linear(l, n->q, i, 0, q_dim, dim, s->qkv_bias);
        y->qkv[1] = load_linear(l, n->k, i, 0, kv_dim, dim, s->qkv_bias);
        y->qkv[2] = load_linear(l, n->v, i, 0, kv_dim, dim, s->qkv_bias);
    }
    y->q_norm = load_head_norm(l, n->q_norm, i, s->n_heads);
    y->k_norm = load_head_norm(l, n->k_norm, i, s->n_kv_heads);
    y->o = load_linear(l, n->o, i, 0, dim, q_dim, s->o_bias);
}

static int send_attention(struct device *d, struct layer *y, const struct spec *s, struct err *e) {
    struct linear *linears[] = {&y->qkv[0], &y->qkv[1], &y->qkv[2], &y->o};
    bool shared = s->qk_norm == QK_NORM_HEAD; // one vector [head_dim] for all heads
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++)
        if (load_send_linear(d, linears[i], e) != 0)
            return -1;
    if (load_send_norm(d, &y->q_norm, s->head_dim * (shared ? 1 : s->n_heads), e) != 0)
        return -1;
    return load_send_norm(d, &y->k_norm, s->head_dim * (shared ? 1 : s->n_kv_heads), e);
}

static struct state_layer attention_state(const struct spec *s, size_t layer, size_t page_bytes) {
    return (struct state_layer){
        .kind = STATE_PAGES, .bytes = page_bytes, .window = s->layers[layer].window};
}

/* The last position that a row sees. */
static uint32_t last_seen(const struct model *m, const struct row *row, uint32_t window) {
    if (!m->spec.bidirectional)
        return row->pos;
    uint32_t last = (uint32_t)(m->seqs[row->slot].end - 1);
    return window > 0 && window - 1 < last - row->pos ? row->pos + window - 1 : last;
}

static void attention_step(struct model *m, const struct row *rows, size_t n_rows,
                           struct step *step) {
    for (size_t g = 0; g < m->state.n_groups; g++) {
        const struct state_group *group = &m->state.groups[g];
        if (group->kind != STATE_PAGES)
            continue;
        uint32_t window = (uint32_t)group->window;
        for (size_t i = 0; i < n_rows; i++) {
            uint32_t pos = rows[i].pos;
            m->attn_rows[g][i] = (struct attn_row){
                .pages = m->seqs[rows[i].slot].state.tables[g],
                .first = window > 0 && pos >= window ? pos - window + 1 : 0,
                .last = last_seen(m, &rows[i], window),
                .pos = pos,
            };
        }
        step->attn[g] = m->attn_rows[g];
    }
}

/* Which of the model's rotations the layer has. */
static size_t rope_of(const struct spec *s, const struct layer_spec *layer) {
    if (s->n_ropes == 0 || layer->no_rope)
        return DEVICE_NO_ROPE;
    return layer->sliding && s->n_ropes > 1 ? 1 : 0;
}

static void attention_block(struct model *m, size_t layer, const float *in, const struct norm *pre,
                            float scale) {
    const struct spec *s = &m->spec;
    const struct layer *y = &m->layers.layers[layer];
    struct device *d = m->device;
    const struct state_place place = state_place(&m->state, layer);
    const struct kv_layer kv = {.base = place.base,
                                .mapped = place.mapped,
                                .run = place.run,
                                .run_stride = place.run_stride,
                                .n_kv_heads = s->n_kv_heads,
                                .k_dim = s->head_dim,
                                .v_dim = s->head_dim,
                                .type = m->kv_i8     ? KV_I8
                                        : m->precise ? KV_F32
                                                     : KV_BF16};
    const struct qkv_op qkv = {.qkv = y->qkv,
                               .fused = s->fused_qkv,
                               .pre = pre,
                               .qk_norm = s->qk_norm,
                               .q_norm = &y->q_norm,
                               .k_norm = &y->k_norm,
                               .rope = rope_of(s, &s->layers[layer]),
                               .kv = &kv,
                               .group = place.group};
    const struct attend_op attend = {
        .kv = &kv,
        .group = place.group,
        .scale = s->attn_scale_by_layer ? s->attn_scale / (float)(layer + 1) : s->attn_scale,
        .softcap = s->attn_softcap};
    d->ops->qkv(d, &qkv, in);
    d->ops->attend(d, &attend);
    model_add_block(m, FROM_ATTEND, &y->o, &y->attn_post_norm, scale);
}

const struct mix_ops mix_attention = {
    .load = load_attention,
    .send = send_attention,
    .state = attention_state,
    .step = attention_step,
    .block = attention_block,
};
