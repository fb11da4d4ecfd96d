/* The forward pass, for every family, over a flat batch of rows {slot, pos, id}.
 *
 * Read `forward` from its top: embed; then for each layer norm, q k v, rotate, store, attend, add,
 * norm, FFN, add; then the head. Each call is an operation of the device (backend/ops.h), and x, h
 * and y are in its memory. What a family does not have is switched off in struct spec, where each
 * field names a model that has it.
 *
 * Each row's result is a function of its sequence alone: no operation of a device depends on the
 * other rows. No memory is taken here.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/internal.h"

/* What of the rows no layer changes: how they turn, and what they see. */
static struct step make_step(struct model *m, const struct row *rows, size_t n_rows) {
    const struct spec *s = &m->spec;
    struct step step = {.n_rows = n_rows, .rows = m->step_rows, .embed = &m->layers.embed};
    step.positions = s->learned_pos ? &m->layers.positions : NULL;
    step.embed_scale = s->embed_scale > 0 ? s->embed_scale : 1;
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *row = &rows[i];
        const struct slot *slot = &m->slots[row->slot];
        m->step_rows[i] = (struct step_row){.id = row->id, .pos = row->pos, .want = row->want};
        for (size_t r = 0; r < s->n_ropes; r++)
            m->step_rows[i].freq[r] = slot->freq[r];
        for (size_t g = 0; g < m->kv.n_groups; g++) {
            uint32_t pos = row->pos, window = (uint32_t)m->kv.groups[g].window;
            uint32_t first = window > 0 && pos >= window ? pos - window + 1 : 0;
            m->attn_rows[g][i] = (struct attn_row){slot->kv.tables[g], first, pos, pos};
        }
    }
    for (size_t g = 0; g < m->kv.n_groups; g++)
        step.attn[g] = m->attn_rows[g];
    return step;
}

static const struct norm *there(const struct norm *n) {
    return n->weight ? n : NULL;
}

/* x += scale * W source, normed before where the layer has a norm behind its blocks */
static void add_block(struct model *m, enum device_source from, const struct linear *l,
                      const struct norm *post, float scale) {
    struct device *d = m->device;
    d->ops->project(d, post ? d->y : d->x, from, l, !post, scale);
    if (post) {
        d->ops->norm(d, d->y, d->y, post);
        d->ops->add(d, d->x, d->y, scale);
    }
}

/* x += attention over `in` and what is in the pages */
static void attention_block(struct model *m, size_t l, const float *in, const struct norm *pre,
                            float scale) {
    const struct spec *s = &m->spec;
    const struct layer *layer = &m->layers.layers[l];
    const struct layer_spec *kind = &s->layers[l];
    struct device *d = m->device;
    const struct kv_layer kv = kv_layer(&m->kv, l);
    const struct qkv_op qkv = {
        .qkv = layer->qkv,
        .fused = s->fused_qkv,
        .pre = pre,
        .qk_norm = s->qk_norm,
        .q_norm = &layer->q_norm,
        .k_norm = &layer->k_norm,
        .rope = s->n_ropes == 0 || kind->no_rope ? DEVICE_ROPES : kind->sliding && s->n_ropes > 1,
        .kv = &kv,
        .group = m->kv.group_of[l]};
    const struct attend_op attend = {
        .kv = &kv,
        .group = m->kv.group_of[l],
        .scale = s->attn_scale_by_layer ? s->attn_scale / (float)(l + 1) : s->attn_scale,
        .softcap = s->attn_softcap};
    d->ops->qkv(d, &qkv, in);
    d->ops->attend(d, &attend);
    add_block(m, FROM_ATTEND, &layer->o, there(&layer->attn_post_norm), scale);
}

/* x += the experts' sum over `in` */
static void experts_block(struct model *m, const struct layer *layer, const float *in,
                          const struct norm *pre, float scale) {
    const struct spec *s = &m->spec;
    struct device *d = m->device;
    const struct experts_op experts = {.router = &layer->router,
                                       .experts = layer->experts,
                                       .ffn_dim = s->expert_ffn_dim,
                                       .act = s->act,
                                       .renormalise = !s->no_renormalise};
    if (pre)
        d->ops->norm(d, d->h, in, pre);
    d->ops->experts(d, d->y, &experts, pre ? d->h : in);
    if (layer->ffn_post_norm.weight)
        d->ops->norm(d, d->y, d->y, &layer->ffn_post_norm);
    d->ops->add(d, d->x, d->y, scale);
}

/* x += the FFN over `in` */
static void ffn_block(struct model *m, const struct layer *layer, const float *in,
                      const struct norm *pre, float scale) {
    const struct spec *s = &m->spec;
    struct device *d = m->device;
    const struct gated_op gated = {.in = layer->ffn_in,
                                   .ffn_dim = s->ffn_dim,
                                   .ungated = s->ungated,
                                   .act = s->act,
                                   .pre = pre};
    d->ops->gated(d, &gated, in);
    add_block(m, FROM_GATED, &layer->down, there(&layer->ffn_post_norm), scale);
}

int forward(struct model *m, const struct row *rows, size_t n_rows, float *logits, float *hidden,
            struct err *e) {
    const struct spec *s = &m->spec;
    struct device *d = m->device;
    float scale = s->residual_scale > 0 ? s->residual_scale : 1;
    const struct step step = make_step(m, rows, n_rows);
    const struct head_op head = {.norm = &m->layers.final_norm,
                                 .head = &m->layers.head,
                                 .divisor = s->logit_divisor,
                                 .softcap = s->logit_softcap};

    d->ops->begin(d, &step);
    for (size_t l = 0; l < s->n_layers; l++) {
        const struct layer *layer = &m->layers.layers[l];
        layers_ready(&m->layers, l);

        const float *in = d->x; // where there is no norm, a block reads the residual itself
        const struct norm *attn_norm = there(&layer->attn_norm),
                          *ffn_norm = there(&layer->ffn_norm);
        if (s->parallel && attn_norm) { // the FFN reads what attention read
            d->ops->norm(d, d->h, d->x, attn_norm);
            in = d->h;
            attn_norm = NULL;
        }
        attention_block(m, l, in, attn_norm, scale);
        if (layer->experts)
            experts_block(m, layer, in, ffn_norm, scale);
        else
            ffn_block(m, layer, in, ffn_norm, scale);
    }
    layers_ready(&m->layers, s->n_layers);
    return d->ops->head(d, &head, logits, hidden, e);
}
