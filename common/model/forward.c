/* The forward pass, for every family, over a flat batch of rows {slot, pos, id}.
 *
 * Read `forward` from its top: embed; then for each layer norm, q k v, rotate, store, attend, add, norm,
 * FFN, add; then the head. What a family does not have is switched off in struct spec, where each field
 * names a model that has it.
 *
 * Each row's result is a function of its sequence alone: every kernel sums in an order that does not depend
 * on the other rows, and experts add to a row in the order of their numbers. No memory is taken here.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "base/progress.h"
#include "model/internal.h"

/* What was done since the last call counts as this part. Some ten calls a layer, 30 ns each. */
static void lap(struct model *m, enum model_part part) {
    double now = seconds_now();
    m->times[part] += now - m->lap;
    m->lap = now;
}

/* What is done row by row, for rows [begin, end). */
struct rows_job {
    struct model *m;
    const struct row *rows;
    const struct norm *norm, *norm_k;
    const float *x;
    float *y;
    size_t ldy, n, which; // which: of the ropes; SPEC_MAX_ROPES: none
    float scale;
};

enum { SPREAD_FLOATS = 1 << 15, PIECE_FLOATS = 1 << 13 };

/* Runs the job over the threads where there is enough to do; cost: of a row, as many floats read and written once. */
static void over_rows(struct model *m, pool_job *job, void *arg, size_t n_rows, size_t cost) {
    if (n_rows * cost < SPREAD_FLOATS)
        job(arg, 0, n_rows, 0);
    else
        pool_run(m->pool, job, arg, n_rows, 1 + PIECE_FLOATS / cost);
}

/* Row `row` of a table [n, dim] in the file's type -> out [dim] f32. */
static void look_up(float *out, const struct mat *table, size_t row, float scale) {
    const unsigned char *p = table->data;
    size_t n = table->n_in;
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        if (table->dtype == DT_F32) {
            memcpy(&out[i], p + 4 * (row * n + i), 4);
        } else {
            memcpy(&half, p + 2 * (row * n + i), 2);
            out[i] = table->dtype == DT_BF16 ? f32_from_bf16(half) : f32_from_f16(half);
        }
        out[i] *= scale;
    }
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static struct product product(float *y, size_t ldy, const struct linear *l) {
    return (struct product){.y = y, .ldy = ldy, .w = &l->w, .bias = l->bias};
}

/* The products of what reads the same x [n_rows, n_in] (stride ldx) */
static void apply_linears(struct model *m, const struct product *products, size_t n, const float *x, size_t ldx,
                          size_t n_rows) {
    matmul_many(m->pool, products, n, x, ldx, n_rows, m->precise, m->ws.scratch);
    lap(m, PART_MATMUL);
}

/* y [n_rows, n_out] (stride ldy) = x [n_rows, n_in] (stride ldx) W^T + bias */
static void apply_linear(struct model *m, float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows,
                         const struct linear *l) {
    const struct product one = product(y, ldy, l);
    apply_linears(m, &one, 1, x, ldx, n_rows);
}

/* y [n_rows, n] = norm(x); x and y may be the same. */
static void norm_rows(const struct spec *s, float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows,
                      size_t n, const struct norm *norm) {
    if (s->norm == NORM_LAYER)
        layernorm(y, ldy, x, ldx, n_rows, n, norm->weight, norm->bias, s->norm_eps);
    else
        rmsnorm(y, ldy, x, ldx, n_rows, n, norm->weight, s->norm_offset, s->norm_eps);
}

static void run_norm(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rows_job *j = arg;
    (void)thread;
    norm_rows(&j->m->spec, j->y + begin * j->n, j->n, j->x + begin * j->n, j->n, end - begin, j->n, j->norm);
}

/* y [n_rows, hidden_dim] = norm(x) */
static void apply_norm(struct model *m, float *y, const float *x, size_t n_rows, const struct norm *norm) {
    size_t dim = m->spec.hidden_dim;
    struct rows_job j = {.m = m, .y = y, .x = x, .n = dim, .norm = norm};
    over_rows(m, run_norm, &j, n_rows, 2 * dim);
    lap(m, PART_NORMS);
}

static void run_add(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rows_job *j = arg;
    (void)thread;
    add_scaled(j->y + begin * j->n, j->n, j->x + begin * j->n, j->n, end - begin, j->n, j->scale);
}

/* x [n_rows, hidden_dim] += what a block adds */
static void apply_add(struct model *m, float *x, const float *y, size_t n_rows) {
    size_t dim = m->spec.hidden_dim;
    struct rows_job j = {.m = m, .y = x, .x = y, .n = dim, .scale = m->spec.residual_scale > 0 ? m->spec.residual_scale : 1};
    over_rows(m, run_add, &j, n_rows, 2 * dim);
    lap(m, PART_ROWS);
}

/* What depends on rows and positions only, once for all layers: angles, and how far each row sees. Then
 * x [n_rows, hidden_dim] = the rows' embeddings. */
static void run_begin(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rows_job *j = arg;
    struct model *m = j->m;
    const struct spec *s = &m->spec;
    struct workspace *ws = &m->ws;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const struct row *row = &j->rows[i];
        const struct slot *slot = &m->slots[row->slot];
        for (size_t r = 0; r < s->n_ropes; r++) {
            const struct rope *rope = &m->ropes[r];
            rope_angles(rope, slot->variant[r], row->pos, ws->cosines[r] + i * rope->half, ws->sines[r] + i * rope->half);
        }
        for (size_t g = 0; g < m->kv.n_groups; g++) {
            uint32_t pos = row->pos, window = (uint32_t)m->kv.groups[g].window;
            uint32_t first = window > 0 && pos >= window ? pos - window + 1 : 0;
            ws->attn_rows[g][i] = (struct attn_row){slot->kv.tables[g], first, pos};
        }
        float *x = ws->x + i * s->hidden_dim, *y = ws->y + i * s->hidden_dim;
        look_up(x, &m->layers.embed.w, row->id, s->embed_scale > 0 ? s->embed_scale : 1);
        if (s->learned_pos) {
            look_up(y, &m->layers.positions.w, row->pos, 1);
            add(x, y, s->hidden_dim);
        }
    }
}

/* x [n_heads, head_dim], q or k of one row: each head normed by itself, or all at once. */
static void norm_heads(const struct spec *s, float *x, size_t n_heads, const struct norm *norm) {
    size_t dim = s->head_dim, all = n_heads * dim;
    if (s->qk_norm == QK_NORM_ALL)
        norm_rows(s, x, all, x, all, 1, all, norm);
    if (s->qk_norm == QK_NORM_HEAD)
        norm_rows(s, x, dim, x, dim, n_heads, dim, norm);
    for (size_t h = 0; h < n_heads && s->qk_norm == QK_NORM_EACH; h++) {
        struct norm own = {norm->weight + h * dim, NULL};
        norm_rows(s, x + h * dim, dim, x + h * dim, dim, 1, dim, &own);
    }
}

/* q and k in y [n_rows, qkv_dim], which lie side by side: normed, and turned by each row's angles. */
static void run_qk(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rows_job *j = arg;
    const struct model *m = j->m;
    const struct spec *s = &m->spec;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *q = j->y + i * j->ldy, *k = q + s->n_heads * s->head_dim;
        if (s->qk_norm != QK_NORM_NONE) {
            norm_heads(s, q, s->n_heads, j->norm);
            norm_heads(s, k, s->n_kv_heads, j->norm_k);
        }
        if (j->which == SPEC_MAX_ROPES)
            continue;
        size_t half = m->ropes[j->which].half;
        rope(q, s->n_heads + s->n_kv_heads, s->head_dim, 2 * half, m->ws.cosines[j->which] + i * half,
             m->ws.sines[j->which] + i * half);
    }
}

/* Keys lie transposed, so that each is written to a line of its own. */
enum { STORE_COST = 8 };
struct store_job {
    const struct kv_layer *kv;
    const struct attn_row *rows;
    const float *k, *v; // [n_rows, kv_dim], stride ld
    size_t ld;
};
static void run_store(void *arg, size_t begin, size_t end, size_t thread) {
    const struct store_job *j = arg;
    (void)thread;
    kv_store(j->kv, j->rows + begin, end - begin, j->k + begin * j->ld, j->ld, j->v + begin * j->ld, j->ld);
}

/* y [n_rows, hidden_dim] = attention over h [n_rows, hidden_dim] and what is in the pages */
static void attend(struct model *m, size_t l, float *y, const float *h, size_t n_rows) {
    const struct spec *s = &m->spec;
    const struct layer *layer = &m->layers.layers[l];
    const struct layer_spec *kind = &s->layers[l];
    const struct kv_layer kv = kv_layer(&m->kv, l);
    const struct attn_row *rows = m->ws.attn_rows[m->kv.group_of[l]];
    size_t dim = s->hidden_dim, q_dim = s->n_heads * s->head_dim, kv_dim = s->n_kv_heads * s->head_dim;
    size_t qkv_dim = q_dim + 2 * kv_dim;
    float *q = m->ws.qkv, *k = q + q_dim, *v = k + kv_dim; // each with stride qkv_dim

    const struct product qkv[] = {product(q, qkv_dim, &layer->qkv[0]), product(k, qkv_dim, &layer->qkv[1]),
                                  product(v, qkv_dim, &layer->qkv[2])};
    apply_linears(m, qkv, s->fused_qkv ? 1 : 3, h, dim, n_rows);
    bool turns = s->n_ropes > 0 && !kind->no_rope;
    struct rows_job qk = {.m = m, .y = q, .ldy = qkv_dim, .norm = &layer->q_norm, .norm_k = &layer->k_norm,
                          .which = !turns ? SPEC_MAX_ROPES : kind->sliding && s->n_ropes > 1};
    if (turns || s->qk_norm != QK_NORM_NONE)
        over_rows(m, run_qk, &qk, n_rows, 2 * (q_dim + kv_dim));
    lap(m, PART_ROWS);
    struct store_job store = {&kv, rows, k, v, qkv_dim};
    over_rows(m, run_store, &store, n_rows, STORE_COST * kv_dim);
    lap(m, PART_STORE);
    float scale = s->attn_scale_by_layer ? s->attn_scale / (float)(l + 1) : s->attn_scale;
    attention(m->pool, &kv, rows, n_rows, m->ws.attn, q_dim, q, qkv_dim, s->n_heads, scale, s->attn_softcap,
              m->ws.scratch);
    lap(m, PART_ATTENTION);
    apply_linear(m, y, dim, m->ws.attn, q_dim, n_rows, &layer->o);
}

/* y [n_rows, hidden_dim] = down(act(gate(h)) * up(h)), or down(act(up(h))); in is gate and up, or both in one, or the one
 * there is. */
static void ffn(struct model *m, float *y, const float *h, size_t n_rows, const struct linear in[2],
                const struct linear *down, size_t ffn_dim) {
    const struct spec *s = &m->spec;
    struct product one = product(m->ws.ffn, ffn_dim, &in[0]);
    struct mat halves[2] = {in[0].w, in[0].w};
    one.act = &s->act;
    if (!s->ungated && in[0].w.n_out == ffn_dim) {
        one.up = &in[1].w;
        one.up_bias = in[1].bias;
    } else if (!s->ungated) {
        halves[0].n_out = halves[1].n_out = ffn_dim;
        halves[1].data = (const unsigned char *)in[0].w.data + ffn_dim * in[0].w.n_in * dtype_bits(in[0].w.dtype) / 8;
        one.w = &halves[0];
        one.up = &halves[1];
        one.up_bias = in[0].bias ? in[0].bias + ffn_dim : NULL;
    }
    apply_linears(m, &one, 1, h, s->hidden_dim, n_rows);
    apply_linear(m, y, s->hidden_dim, m->ws.ffn, ffn_dim, n_rows, down);
}

/* The experts of one row: the n_experts_used largest of logits [n_experts], ties to the smaller number,
 * weighted by the softmax over all experts; renormalised so that the weights sum to 1, unless the model
 * says not to. */
static void choose_experts(const struct spec *s, float *logits, uint32_t *chosen, float *weight) {
    float max = logits[0], sum = 0, kept = 0;
    for (size_t x = 1; x < s->n_experts; x++)
        max = logits[x] > max ? logits[x] : max;
    for (size_t x = 0; x < s->n_experts; x++)
        sum += logits[x] = expf(logits[x] - max);
    for (size_t k = 0; k < s->n_experts_used; k++) {
        size_t best = 0;
        for (size_t x = 1; x < s->n_experts; x++)
            best = logits[x] > logits[best] ? x : best;
        chosen[k] = (uint32_t)best;
        kept += weight[k] = logits[best] / sum;
        logits[best] = -1;
    }
    for (size_t k = 0; k < s->n_experts_used && !s->no_renormalise; k++)
        weight[k] /= kept;
}

/* y [n_rows, hidden_dim] = the chosen experts' weighted sum. Rows are grouped by expert, so that the
 * weights of each expert that the batch uses are read once, and no others. */
static void mixture(struct model *m, const struct layer *layer, float *y, const float *h, size_t n_rows) {
    const struct spec *s = &m->spec;
    struct workspace *ws = &m->ws;
    size_t dim = s->hidden_dim, used = s->n_experts_used;

    apply_linear(m, ws->router, s->n_experts, h, dim, n_rows, &layer->router);
    for (size_t i = 0; i < n_rows; i++)
        choose_experts(s, ws->router + i * s->n_experts, ws->expert_of + i * used,
                       ws->expert_weight + i * used);
    memset(y, 0, n_rows * dim * sizeof *y);
    for (size_t x = 0; x < s->n_experts; x++) {
        size_t n = 0;
        for (size_t c = 0; c < n_rows * used; c++) {
            if (ws->expert_of[c] != x)
                continue;
            memcpy(ws->expert_in + n * dim, h + c / used * dim, dim * sizeof *h);
            ws->expert_row[n++] = (uint32_t)c;
        }
        if (n == 0)
            continue;
        const struct linear *expert = layer->experts + 3 * x;
        lap(m, PART_ROWS);
        ffn(m, ws->expert_out, ws->expert_in, n, expert, &expert[2], s->expert_ffn_dim);
        for (size_t i = 0; i < n; i++) {
            size_t c = ws->expert_row[i];
            add_scaled(y + c / used * dim, dim, ws->expert_out + i * dim, dim, 1, dim,
                       ws->expert_weight[c]);
        }
    }
    lap(m, PART_ROWS);
}

/* logits [n_want, vocab_size] and hidden [n_want, hidden_dim] of the rows that want them */
static void head(struct model *m, const struct row *rows, size_t n_rows, float *logits, float *hidden) {
    const struct spec *s = &m->spec;
    float *h = m->ws.h;
    size_t dim = s->hidden_dim, n = 0;

    for (size_t i = 0; i < n_rows; i++)
        if (rows[i].want)
            norm_rows(s, h + n++ * dim, dim, m->ws.x + i * dim, dim, 1, dim, &m->layers.final_norm);
    if (n == 0)
        return;
    if (hidden)
        memcpy(hidden, h, n * dim * sizeof *h);
    if (!logits)
        return;
    matmul(m->pool, logits, s->vocab_size, h, dim, n, &m->layers.head.w, m->layers.head.bias, m->precise, m->ws.scratch);
    for (size_t i = 0; i < n * s->vocab_size && s->logit_divisor > 0; i++)
        logits[i] /= s->logit_divisor;
    if (s->logit_softcap > 0)
        softcap(logits, n * s->vocab_size, s->logit_softcap);
}

void forward(struct model *m, const struct row *rows, size_t n_rows, float *logits, float *hidden) {
    const struct spec *s = &m->spec;
    float *x = m->ws.x, *h = m->ws.h, *y = m->ws.y; // [n_rows, hidden_dim]

    m->lap = seconds_now();
    over_rows(m, run_begin, &(struct rows_job){.m = m, .rows = rows}, n_rows, 8 * s->hidden_dim);
    lap(m, PART_ROWS);
    for (size_t l = 0; l < s->n_layers; l++) {
        const struct layer *layer = &m->layers.layers[l];
        layers_ready(&m->layers, l);

        const float *in = x; // what the block reads: the residual itself where there is no norm
        if (layer->attn_norm.weight) {
            apply_norm(m, h, x, n_rows, &layer->attn_norm);
            in = h;
        }
        attend(m, l, y, in, n_rows);
        if (layer->attn_post_norm.weight)
            apply_norm(m, y, y, n_rows, &layer->attn_post_norm);
        apply_add(m, x, y, n_rows);

        if (!s->parallel) // else the FFN reads h, what attention read
            in = x;
        if (layer->ffn_norm.weight) {
            apply_norm(m, h, x, n_rows, &layer->ffn_norm);
            in = h;
        }
        if (layer->experts)
            mixture(m, layer, y, in, n_rows);
        else
            ffn(m, y, in, n_rows, layer->ffn_in, &layer->down, s->ffn_dim);
        if (layer->ffn_post_norm.weight)
            apply_norm(m, y, y, n_rows, &layer->ffn_post_norm);
        apply_add(m, x, y, n_rows);
    }
    layers_ready(&m->layers, s->n_layers);
    head(m, rows, n_rows, logits, hidden);
    lap(m, PART_HEAD);
}
