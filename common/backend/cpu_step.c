/* A step on the CPU: the operations of ops.h, but experts (cpu_experts.c), over kernels and a pool
 * of threads.
 *
 * Each row's result is a function of its sequence alone: every kernel sums in an order that does
 * not depend on the other rows.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <string.h>

#include "backend/cpu.h"
#include "base/progress.h"
#include "kernels/tune.h"

static struct cpu *cpu_of(struct device *d) {
    return (struct cpu *)d;
}

void cpu_lap(struct cpu *c, enum model_part part) {
    double now = seconds_now();
    c->device.times[part] += now - c->lap;
    c->lap = now;
}

/* ---- Row operations ---- */

/* For rows [begin, end). */
struct rows_job {
    const struct cpu *c;
    const struct qkv_op *qkv;
    const struct norm *norm;
    const float *x;
    float *y;
    size_t ldy, n;
    float scale;
};

/* Runs the job over the threads where there is enough to do. cost: of a row, in floats read and
 * written once. */
static void over_rows(struct cpu *c, pool_job *job, void *arg, size_t n_rows, size_t cost) {
    if (n_rows * cost < ROWS_SPREAD_FLOATS)
        job(arg, 0, n_rows, 0);
    else
        pool_run(c->pool, job, arg, n_rows, 1 + ROWS_PIECE_FLOATS / cost);
}

/* y [n_rows, n] = norm(x); x and y may be the same. */
static void norm_rows(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                      const struct norm *norm) {
    const struct rows_norm own = {norm->weight, norm->bias, norm->offset, norm->eps};
    if (norm->kind == NORM_LAYER)
        rows_layernorm(y, ldy, x, ldx, n_rows, n, &own);
    else
        rows_rmsnorm(y, ldy, x, ldx, n_rows, n, &own);
}

static void run_norm(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rows_job *j = arg;
    (void)thread;
    norm_rows(j->y + begin * j->n, j->n, j->x + begin * j->n, j->n, end - begin, j->n, j->norm);
}

void cpu_norm(struct device *d, float *y, const float *x, const struct norm *n) {
    struct cpu *c = cpu_of(d);
    size_t dim = c->shape.hidden_dim;
    struct rows_job j = {.y = y, .x = x, .n = dim, .norm = n};
    over_rows(c, run_norm, &j, c->step.n_rows, 2 * dim);
    cpu_lap(c, PART_NORMS);
}

/* The input of a block: x, or h = norm(x). */
static const float *normed(struct cpu *c, const float *x, const struct norm *n) {
    if (!n)
        return x;
    cpu_norm(&c->device, c->device.h, x, n);
    return c->device.h;
}

static void run_add(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rows_job *j = arg;
    (void)thread;
    rows_add_scaled(j->y + begin * j->n, j->n, j->x + begin * j->n, j->n, end - begin, j->n,
                    j->scale);
}

void cpu_add(struct device *d, float *y, const float *x, float scale) {
    struct cpu *c = cpu_of(d);
    size_t dim = c->shape.hidden_dim;
    struct rows_job j = {.y = y, .x = x, .n = dim, .scale = scale};
    over_rows(c, run_add, &j, c->step.n_rows, 2 * dim);
    cpu_lap(c, PART_ROWS);
}

/* ---- The start of a step ---- */

/* Row `row` of a table [n, dim] -> out [dim] f32. */
static void look_up(float *out, const struct mat *table, size_t row, float scale) {
    mat_row(table, row, out);
    for (size_t i = 0; i < table->n_in; i++)
        out[i] *= scale;
}

/* cos and sin [half] of the angles of position pos: the angle in float, both exact to the last bit.
 */
static void rotation(const float *freq, size_t half, uint32_t pos, float scale, float *cosines,
                     float *sines) {
    for (size_t i = 0; i < half; i++) {
        float angle = (float)pos * freq[i];
        cosines[i] = (float)cos((double)angle) * scale;
        sines[i] = (float)sin((double)angle) * scale;
    }
}

/* x [n_rows, hidden_dim] = the rows' embeddings; and the angles of all layers. */
static void run_begin(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rows_job *j = arg;
    const struct cpu *c = j->c;
    const struct step *step = &c->step;
    size_t dim = c->shape.hidden_dim;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        const struct step_row *row = &step->rows[i];
        for (size_t r = 0; r < c->shape.n_ropes; r++) {
            size_t half = c->shape.rope_half[r];
            rotation(row->freq[r], half, row->pos, c->shape.rope_scale[r],
                     c->ws.cosines[r] + i * half, c->ws.sines[r] + i * half);
        }
        float *x = c->device.x + i * dim, *y = c->device.y + i * dim;
        look_up(x, &step->embed->w, row->id, step->embed_scale);
        if (step->types) {
            look_up(y, &step->types->w, 0, 1);
            for (size_t k = 0; k < dim; k++)
                x[k] += y[k];
        }
        if (step->positions) {
            look_up(y, &step->positions->w, row->pos, 1);
            for (size_t k = 0; k < dim; k++)
                x[k] += y[k];
        }
    }
}

void cpu_begin(struct device *d, const struct step *s) {
    struct cpu *c = cpu_of(d);
    c->lap = seconds_now();
    c->step = *s;
    over_rows(c, run_begin, &(struct rows_job){.c = c}, s->n_rows, 8 * c->shape.hidden_dim);
    cpu_lap(c, PART_ROWS);
}

/* ---- Matrices ---- */

static struct matmul_product product(float *y, size_t ldy, const struct linear *l) {
    return (struct matmul_product){.y = y, .ldy = ldy, .w = &l->w, .bias = l->bias};
}

/* Tells the watch of products of one x. */
static void show(const struct cpu *c, const struct matmul_product *products, size_t n,
                 const float *x, size_t n_rows) {
    const struct device_watch *watch = &c->device.watch;
    for (size_t i = 0; watch->see && i < n; i++) {
        watch->see(watch->ctx, products[i].w, i > 0 ? products[0].w : NULL, x, n_rows);
        if (products[i].up)
            watch->see(watch->ctx, products[i].up, products[0].w, x, n_rows);
    }
}

/* Products of one x [n_rows, n_in] */
static void apply(struct cpu *c, const struct matmul_product *products, size_t n, const float *x,
                  size_t n_rows) {
    show(c, products, n, x, n_rows);
    matmul(c->pool, products, n,
           &(struct matmul_input){x, products[0].w->n_in, n_rows, c->shape.precise, c->ws.scratch});
    cpu_lap(c, PART_MATMUL);
}

void cpu_linear(struct cpu *c, float *y, const float *x, size_t n_rows, const struct linear *l) {
    const struct matmul_product one = product(y, l->w.n_out, l);
    apply(c, &one, 1, x, n_rows);
}

void cpu_gated(struct cpu *c, const struct gated_op *o, const float *x, size_t n_rows) {
    const struct linear *in = o->in;
    struct matmul_product one = product(c->ws.ffn, o->ffn_dim, &in[0]);
    struct mat halves[2];
    one.act = o->act;
    if (!o->ungated && in[0].w.n_out == o->ffn_dim) {
        one.up = &in[1].w;
        one.up_bias = in[1].bias;
    } else if (!o->ungated) {
        halves[0] = mat_rows(&in[0].w, 0, o->ffn_dim);
        halves[1] = mat_rows(&in[0].w, o->ffn_dim, o->ffn_dim);
        one.w = &halves[0];
        one.up = &halves[1];
        one.up_bias = in[0].bias ? in[0].bias + o->ffn_dim : NULL;
    }
    apply(c, &one, 1, x, n_rows);
}

void cpu_ffn_in(struct device *d, const struct gated_op *o, const float *x) {
    struct cpu *c = cpu_of(d);
    cpu_gated(c, o, normed(c, x, o->pre), c->step.n_rows);
}

void cpu_project(struct device *d, float *y, enum device_source from, const struct linear *l,
                 bool add, float scale) {
    struct cpu *c = cpu_of(d);
    cpu_linear(c, add ? d->y : y, from == FROM_ATTEND ? c->ws.attn : c->ws.ffn, c->step.n_rows, l);
    if (add)
        cpu_add(d, y, d->y, scale);
}

/* ---- Attention ---- */

/* x [n_heads, k_dim], q or k of one row: each head normed by itself, or all at once. */
static void norm_heads(enum qk_norm kind, float *x, size_t n_heads, size_t dim,
                       const struct norm *norm) {
    size_t all = n_heads * dim;
    if (kind == QK_NORM_ALL)
        norm_rows(x, all, x, all, 1, all, norm);
    if (kind == QK_NORM_HEAD)
        norm_rows(x, dim, x, dim, n_heads, dim, norm);
    for (size_t h = 0; h < n_heads && kind == QK_NORM_EACH; h++) {
        struct norm own = *norm;
        own.weight += h * dim;
        norm_rows(x + h * dim, dim, x + h * dim, dim, 1, dim, &own);
    }
}

/* Norms q and k in y [n_rows, qkv_dim], where they are side by side, and rotates them by the angles
 * of each row. */
static void run_qk(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rows_job *j = arg;
    const struct qkv_op *o = j->qkv;
    const struct device_shape *s = &j->c->shape;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *q = j->y + i * j->ldy, *k = q + s->n_heads * s->k_dim;
        if (o->qk_norm != QK_NORM_NONE) {
            norm_heads(o->qk_norm, q, s->n_heads, s->k_dim, o->q_norm);
            norm_heads(o->qk_norm, k, s->n_kv_heads, s->k_dim, o->k_norm);
        }
        if (o->rope == DEVICE_NO_ROPE)
            continue;
        size_t half = s->rope_half[o->rope];
        rows_rope(q, s->n_heads + s->n_kv_heads, s->k_dim, 2 * half,
                  j->c->ws.cosines[o->rope] + i * half, j->c->ws.sines[o->rope] + i * half);
    }
}

struct store_job {
    const struct kv_layer *kv;
    const struct attn_row *rows;
    const float *k, *v; // [n_rows, n_kv_heads * k_dim or v_dim], stride ld
    size_t ld;
};
static void run_store(void *arg, size_t begin, size_t end, size_t thread) {
    const struct store_job *j = arg;
    (void)thread;
    kv_store(j->kv, j->rows + begin, end - begin, j->k + begin * j->ld, j->ld, j->v + begin * j->ld,
             j->ld);
}

void cpu_qkv(struct device *d, const struct qkv_op *o, const float *x) {
    struct cpu *c = cpu_of(d);
    const struct device_shape *s = &c->shape;
    size_t n_rows = c->step.n_rows, q_dim = s->n_heads * s->k_dim, k_dim = s->n_kv_heads * s->k_dim,
           qkv_dim = cpu_qkv_dim(s);
    float *q = c->ws.qkv, *k = q + q_dim, *v = k + k_dim; // each with stride qkv_dim

    x = normed(c, x, o->pre);
    struct matmul_product products[3] = {product(q, qkv_dim, &o->qkv[0])};
    if (!o->fused) {
        products[1] = product(k, qkv_dim, &o->qkv[1]);
        products[2] = product(v, qkv_dim, &o->qkv[2]);
    }
    apply(c, products, o->fused ? 1 : 3, x, n_rows);
    if (o->rope != DEVICE_NO_ROPE || o->qk_norm != QK_NORM_NONE)
        over_rows(c, run_qk, &(struct rows_job){.c = c, .qkv = o, .y = q, .ldy = qkv_dim}, n_rows,
                  2 * (q_dim + k_dim));
    cpu_lap(c, PART_ROWS);
    struct store_job store = {o->kv, c->step.attn[o->group], k, v, qkv_dim};
    over_rows(c, run_store, &store, n_rows, ROWS_STORE_COST * (qkv_dim - q_dim) / 2);
    cpu_lap(c, PART_STORE);
}

void cpu_attend(struct device *d, const struct attend_op *o) {
    struct cpu *c = cpu_of(d);
    const struct device_shape *s = &c->shape;
    const struct attn_call call = {.kv = o->kv,
                                   .rows = c->step.attn[o->group],
                                   .n_rows = c->step.n_rows,
                                   .out = c->ws.attn,
                                   .ldo = s->n_heads * s->v_dim,
                                   .q = c->ws.qkv,
                                   .ldq = cpu_qkv_dim(s),
                                   .n_heads = s->n_heads,
                                   .scale = o->scale,
                                   .softcap = o->softcap,
                                   .scratch = c->ws.scratch};
    attention(c->pool, &call);
    cpu_lap(c, PART_ATTENTION);
}

/* ---- Hidden states ---- */

void cpu_fetch(struct device *d, float *host, const float *x) {
    struct cpu *c = cpu_of(d);
    size_t dim = c->shape.hidden_dim;
    for (size_t i = 0, n = 0; i < c->step.n_rows; i++)
        if (c->step.rows[i].want)
            memcpy(host + n++ * dim, x + i * dim, dim * sizeof *host);
    cpu_lap(c, PART_ROWS);
}

/* ---- The end of a step ---- */

/* The rows that the head reads are gathered in h. */
static void head(struct cpu *c, const struct head_op *o, float *logits, float *hidden) {
    size_t dim = c->shape.hidden_dim, vocab = c->shape.vocab_size, n = 0;
    float *h = c->device.h;
    for (size_t i = 0; i < c->step.n_rows; i++) {
        const float *x = c->device.x + i * dim;
        if (c->step.rows[i].want && o->norm)
            norm_rows(h + n++ * dim, dim, x, dim, 1, dim, o->norm);
        else if (c->step.rows[i].want)
            memcpy(h + n++ * dim, x, dim * sizeof *h);
    }
    if (n == 0)
        return;
    if (hidden)
        memcpy(hidden, h, n * dim * sizeof *h);
    if (!logits)
        return;
    const struct matmul_product product_of_head = product(logits, vocab, o->head);
    show(c, &product_of_head, 1, h, n);
    matmul(c->pool, &product_of_head, 1,
           &(struct matmul_input){h, dim, n, c->shape.precise, c->ws.scratch});
    for (size_t i = 0; i < n * vocab && o->divisor > 0; i++)
        logits[i] /= o->divisor;
    if (o->softcap > 0)
        rows_softcap(logits, n * vocab, o->softcap);
}

int cpu_head(struct device *d, const struct head_op *o, float *logits, float *hidden,
             struct err *e) {
    struct cpu *c = cpu_of(d);
    (void)e;
    head(c, o, logits, hidden);
    cpu_lap(c, PART_HEAD);
    return 0;
}
