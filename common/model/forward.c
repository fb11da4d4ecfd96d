/* The forward pass, for every family, over a flat batch of rows {slot, pos, id}.
 *
 * Read model_run first: embed; then for each layer norm, mix positions (attention), add, norm, FFN,
 * add; then the head. Each call is an operation of the device (backend/ops.h), and x, h and y are
 * in its memory. What mixes positions is in mix_NAME.c. What a family does not have is off in
 * struct spec, where each field names a model that has it. Encoders norm the embeddings, and may
 * norm the residual after each block in place of its input.
 *
 * A row's result depends on its sequence alone: no operation of a device depends on the other rows.
 * No memory is taken here.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/internal.h"
#include "model/mix.h"

/* What all layers need of the rows. */
static struct step make_step(struct model *m, const struct row *rows, size_t n_rows) {
    const struct spec *s = &m->spec;
    struct step step = {.n_rows = n_rows, .rows = m->step_rows, .embed = &m->layers.embed};
    step.positions = s->learned_pos ? &m->layers.positions : NULL;
    step.types = s->token_types > 0 ? &m->layers.types : NULL;
    step.embed_scale = s->embed_scale > 0 ? s->embed_scale : 1;
    for (size_t i = 0; i < n_rows; i++) {
        const struct row *row = &rows[i];
        m->step_rows[i] = (struct step_row){.id = row->id, .pos = row->pos, .want = row->want};
        for (size_t r = 0; r < s->n_ropes; r++)
            m->step_rows[i].freq[r] = m->seqs[row->slot].freq[r];
    }
    for (size_t k = 0; k < MIXERS; k++)
        mix_table[k]->step(m, rows, n_rows, &step);
    return step;
}

static const struct norm *if_present(const struct norm *n) {
    return n->weight ? n : NULL;
}

void model_add_block(struct model *m, enum device_source from, const struct linear *l,
                     const struct norm *post, float scale) {
    struct device *d = m->device;
    if (!post->weight || m->spec.residual_norm) {
        d->ops->project(d, d->x, from, l, true, scale);
        if (post->weight)
            d->ops->norm(d, d->x, d->x, post);
        return;
    }
    d->ops->project(d, d->y, from, l, false, scale);
    d->ops->norm(d, d->y, d->y, post);
    d->ops->add(d, d->x, d->y, scale);
}

/* x += scale * the weighted sum of the chosen experts, which read `in`, or norm(in) */
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

/* x += scale * FFN(in), or of norm(in) */
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
    model_add_block(m, FROM_GATED, &layer->down, &layer->ffn_post_norm, scale);
}

/* Where the hidden states go. */
struct hidden_out {
    const struct hidden_layers *wanted;
    float *hidden; // [wanted->n][n_want, hidden_dim], or NULL
    size_t floats; // of one layer
    size_t n;      // given so far
};

static struct hidden_out hidden_out(const struct model *m, const struct step *step, float *hidden) {
    size_t n_want = 0;
    for (size_t i = 0; i < step->n_rows; i++)
        n_want += step->rows[i].want;
    return (struct hidden_out){&m->hidden, hidden, n_want * m->spec.hidden_dim, 0};
}

/* The memory for hidden state `layer`, which come in ascending order; NULL if it is not wanted. */
static float *next_hidden(struct hidden_out *o, size_t layer) {
    if (!o->hidden || o->n == o->wanted->n || o->wanted->layers[o->n] != layer)
        return NULL;
    return o->hidden + o->floats * o->n++;
}

int model_run(struct model *m, const struct row *rows, size_t n_rows, float *logits, float *hidden,
              struct err *e) {
    const struct spec *s = &m->spec;
    struct device *d = m->device;
    float scale = s->residual_scale > 0 ? s->residual_scale : 1;
    struct step step = make_step(m, rows, n_rows);
    struct hidden_out out = hidden_out(m, &step, hidden);
    const struct head_op head = {.norm = if_present(&m->layers.final_norm),
                                 .head = &m->layers.head,
                                 .divisor = s->logit_divisor,
                                 .softcap = s->logit_softcap};

    step.fetches = hidden && out.wanted->layers[0] < s->n_layers;
    d->ops->begin(d, &step);
    if (s->embed_norm) {
        layers_ready(&m->layers, 0);
        d->ops->norm(d, d->x, d->x, &m->layers.embed_norm);
    }
    for (size_t l = 0; l < s->n_layers; l++) {
        const struct layer *layer = &m->layers.layers[l];
        layers_ready(&m->layers, l);
        float *to = next_hidden(&out, l);
        if (to)
            d->ops->fetch(d, to, d->x);

        const float *in = d->x; // without a norm, a block reads the residual itself
        const struct norm *attn_norm = if_present(&layer->attn_norm),
                          *ffn_norm = if_present(&layer->ffn_norm);
        if (s->parallel && attn_norm) { // the FFN reads what attention reads
            d->ops->norm(d, d->h, d->x, attn_norm);
            in = d->h;
            attn_norm = NULL;
        }
        mix_of(s, l)->block(m, l, in, attn_norm, scale);
        if (layer->experts)
            experts_block(m, layer, in, ffn_norm, scale);
        else
            ffn_block(m, layer, in, ffn_norm, scale);
    }
    layers_ready(&m->layers, s->n_layers);
    return d->ops->head(d, &head, logits, next_hidden(&out, s->n_layers), e);
}
