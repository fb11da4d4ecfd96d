/* The operations of a step (backend/ops.h) as launches of kernels.
 *
 * With few rows, a layer is five launches:
 *
 *   [norm, q k v, rotation, store]  [attention]  [o, sum]  [norm, gate, up, activation]  [down,
 * sum]
 *
 * With more rows, norms are launches of their own. A head of odd size, or with norms of q and k,
 * has one more launch: q, k and v are computed as they are, then k_qk norms, rotates and stores
 * them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "backend/cuda/cuda.h"
#include "base/progress.h"

enum {
    FEW_BLOCKS = 1024 // of attention, in tiles and KV heads: above, a warp takes a tile
};

static enum cu_type type_of(const struct cuda_device *d, const struct mat *w) {
    return d->type == CU_F32 ? CU_F32 : cuda_type(w->layout);
}

/* Whether the matrices of an operation are multiplied together: they are of one layout. */
static bool alike(const struct linear *l, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (l[i].w.layout != l[0].w.layout)
            return false;
    return true;
}

void cuda_begin(struct device *device, const struct step *s) {
    struct cuda_device *d = cuda_of(device);
    if (d->failed.code)
        return;
    d->clock.began = d->clock.wanted ? seconds_now() : 0;
    cuda_send_step(d, s);
    cuda_part(d, PART_ROWS);
    if (cuda_skips(d))
        return;
    const struct mat *w = &s->embed->w;
    const struct cuda_mat *m = cuda_mat_of(d, w->data);
    struct cu_begin_args a = {.step = d->step,
                              .embed_type = cuda_type(w->layout),
                              .embed_ld = (uint32_t)cuda_padded(w->n_in),
                              .x = d->base.x,
                              .dim = (uint32_t)w->n_in,
                              .ldx = (uint32_t)d->ld_hidden,
                              .scale = s->embed_scale,
                              .n_ropes = (uint32_t)d->shape.n_ropes};
    if (w->layout >= MAT_G4) {
        a.embed = cuda_quant(d, w);
        a.embed_quant = true;
    } else if (m && m->uses > 1 && cuda_way_of(d, w->layout) == CUDA_MMA) { // it is the head, too
        struct cuda_group g = cuda_group_of((const struct linear *const[]){s->embed}, 1);
        a.embed = cuda_packed(d, &g);
        a.embed_packed = true;
    } else {
        a.embed = cuda_plain(d, w->data, w->layout, w->n_out, w->n_in);
    }
    if (s->positions) {
        const struct mat *p = &s->positions->w;
        a.positions_quant = p->layout >= MAT_G4;
        a.positions = a.positions_quant ? cuda_quant(d, p)
                                        : cuda_plain(d, p->data, p->layout, p->n_out, p->n_in);
        a.positions_type = cuda_type(p->layout);
        a.positions_ld = (uint32_t)cuda_padded(p->n_in);
    }
    for (size_t r = 0; r < d->shape.n_ropes; r++) {
        a.half[r] = (uint32_t)d->shape.rope_half[r];
        a.rope_scale[r] = d->shape.rope_scale[r];
        a.cosines[r] = d->cosines[r];
        a.sines[r] = d->sines[r];
    }
    cuda_run(d, d->k.begin, (struct cu_shape){.x = (unsigned)d->rows}, &a, sizeof a);
}

void cuda_norm(struct device *device, float *y, const float *x, const struct norm *n) {
    struct cuda_device *d = cuda_of(device);
    if (!cuda_skips(d))
        cuda_run_norm(d, NULL, CU_F32, y, x, n, false);
}

void cuda_add(struct device *device, float *y, const float *x, float scale) {
    struct cuda_device *d = cuda_of(device);
    struct cu_add_args a = {.step = d->step,
                            .y = y,
                            .x = x,
                            .dim = (uint32_t)d->shape.hidden_dim,
                            .ldy = (uint32_t)d->ld_hidden,
                            .ldx = (uint32_t)d->ld_hidden,
                            .scale = scale};
    cuda_part(d, PART_ROWS);
    if (!cuda_skips(d))
        cuda_run(d, d->k.add, (struct cu_shape){.x = (unsigned)d->rows, .early = true}, &a,
                 sizeof a);
}

static struct cu_kv kv_of(const struct cuda_device *d, const struct kv_layer *kv, size_t group) {
    return (struct cu_kv){.base = kv->base,
                          .page_stride = kv->run_stride,
                          .n_kv_heads = (uint32_t)kv->n_kv_heads,
                          .head_dim = (uint32_t)kv->k_dim,
                          .pad = d->kv_pad,
                          .f32 = d->shape.precise,
                          .group = (uint32_t)group};
}

/* q, k and v as they are into d->qkv, then k_qk. */
static void qkv_in_parts(struct cuda_device *d, const struct qkv_op *o, const float *x) {
    const struct device_shape *s = &d->shape;
    size_t ld = (s->n_heads + 2 * s->n_kv_heads) * s->k_dim, n = o->fused ? 1 : 3, at = 0,
           each = alike(o->qkv, n) ? n : 1; // matrices of a launch
    for (size_t first = 0; first < n; first += each) {
        struct cu_matmul_args a = {.epilogue = CU_STORE, .y = d->qkv + at, .ldy = (uint32_t)ld};
        struct cuda_group g = cuda_group_of(
            (const struct linear *const[]){&o->qkv[first], each > 1 ? &o->qkv[1] : NULL,
                                           each > 1 ? &o->qkv[2] : NULL},
            each);
        for (size_t i = 0; i < each; i++)
            a.bias[i] = o->qkv[first + i].bias;
        if (!cuda_set_weights(d, &a, &g))
            return;
        cuda_multiply_hidden(d, &a, g.layout, x, o->pre);
        at += o->qkv[first].w.n_out;
    }
    bool turns = o->rope != DEVICE_NO_ROPE;
    struct cu_qk_args q = {.step = d->step,
                           .qkv = d->qkv,
                           .ld = (uint32_t)ld,
                           .n_heads = (uint32_t)s->n_heads,
                           .q_norm = cuda_norm_of(o->qk_norm != QK_NORM_NONE ? o->q_norm : NULL),
                           .k_norm = cuda_norm_of(o->qk_norm != QK_NORM_NONE ? o->k_norm : NULL),
                           .rotary_half = turns ? (uint32_t)s->rope_half[o->rope] : 0,
                           .cosines = turns ? d->cosines[o->rope] : NULL,
                           .sines = turns ? d->sines[o->rope] : NULL,
                           .kv = kv_of(d, o->kv, o->group)};
    q.qk_norm = o->qk_norm == QK_NORM_HEAD   ? CU_QK_HEAD
                : o->qk_norm == QK_NORM_EACH ? CU_QK_EACH
                : o->qk_norm == QK_NORM_ALL  ? CU_QK_ALL
                                             : CU_QK_NONE;
    cuda_part(d, PART_ROWS);
    cuda_run(d, d->k.qk, (struct cu_shape){.x = (unsigned)d->rows, .early = true}, &q, sizeof q);
}

void cuda_qkv(struct device *device, const struct qkv_op *o, const float *x) {
    struct cuda_device *d = cuda_of(device);
    const struct device_shape *s = &d->shape;
    cuda_part(d, PART_MATMUL);
    if (cuda_skips(d))
        return;
    if (o->qk_norm != QK_NORM_NONE || s->k_dim % 2 != 0 || !alike(o->qkv, o->fused ? 1 : 3)) {
        qkv_in_parts(d, o, x);
        return;
    }
    bool turns = o->rope != DEVICE_NO_ROPE;
    size_t n = o->fused ? 1 : 3;
    struct cu_matmul_args a = {.epilogue = CU_QKV,
                               .y = d->qkv,
                               .ldy = (uint32_t)((s->n_heads + 2 * s->n_kv_heads) * s->k_dim),
                               .kv = kv_of(d, o->kv, o->group),
                               .n_heads = (uint32_t)s->n_heads,
                               .rotary_half = turns ? (uint32_t)s->rope_half[o->rope] : 0,
                               .cosines = turns ? d->cosines[o->rope] : NULL,
                               .sines = turns ? d->sines[o->rope] : NULL};
    struct cuda_group g =
        cuda_group_of((const struct linear *const[]){&o->qkv[0], n > 1 ? &o->qkv[1] : NULL,
                                                     n > 1 ? &o->qkv[2] : NULL},
                      n);
    g.pairs.pairing = CU_ROTATED;
    g.pairs.head_dim = (uint32_t)s->k_dim;
    g.pairs.half = a.rotary_half;
    for (size_t i = 0; i < n; i++)
        a.bias[i] = o->qkv[i].bias;
    if (cuda_set_weights(d, &a, &g))
        cuda_multiply_hidden(d, &a, g.layout, x, o->pre);
}

void cuda_attend(struct device *device, const struct attend_op *o) {
    struct cuda_device *d = cuda_of(device);
    const struct device_shape *s = &d->shape;
    struct cu_attend_args a = {.step = d->step,
                               .q = d->qkv,
                               .ldq = (uint32_t)((s->n_heads + 2 * s->n_kv_heads) * s->k_dim),
                               .n_heads = (uint32_t)s->n_heads,
                               .scale = o->scale,
                               .softcap = o->softcap,
                               .kv = kv_of(d, o->kv, o->group),
                               .out = d->attn,
                               .out_type = d->type,
                               .ld_out = (uint32_t)d->ld_q,
                               .partial = d->partial,
                               .counters = d->counters,
                               .max_spans = (uint32_t)d->max_spans};
    size_t blocks = d->tiles * s->n_kv_heads, wanted = 4 * (size_t)cu_info(d->c)->n_sms / blocks;
    struct cu_shape shape = {
        .x = (unsigned)d->tiles, .y = (unsigned)s->n_kv_heads, .threads = 128, .early = true};
    const struct cu_kernel *k = d->k.attend_few;
    cuda_part(d, PART_ATTENTION);
    if (cuda_skips(d))
        return;
    if (s->precise) {
        k = d->k.attend_f32;
        shape.threads = CU_THREADS;
    } else if (blocks > FEW_BLOCKS || d->tiles > d->few_tiles) {
        k = d->k.attend_many;
        shape.x = cuda_over(d->tiles, 4);
        shape.shared = CU_ATTEND_MANY_SHARED(d->kv_pad);
    } else {
        wanted = wanted > 0 ? wanted : 1;
        shape.z = (unsigned)(wanted < d->max_spans ? wanted : d->max_spans);
    }
    cuda_run(d, k, shape, &a, sizeof a);
}

/* gate and then up, of two layouts: ffn = gate(x), and then act(ffn) * up(x). */
static void gated_in_parts(struct cuda_device *d, const struct gated_op *o, const float *x) {
    for (size_t i = 0; i < 2; i++) {
        const struct linear *l = &o->in[i];
        struct cuda_group g = cuda_group_of(&l, 1);
        struct cu_matmul_args a = {.epilogue = i == 0 ? CU_STORE : CU_TIMES,
                                   .bias = {l->bias},
                                   .y = d->ffn,
                                   .ldy = (uint32_t)cuda_padded(o->ffn_dim),
                                   .act = (uint32_t)o->act};
        if (cuda_set_weights(d, &a, &g))
            cuda_multiply_hidden(d, &a, g.layout, x, o->pre);
    }
}

void cuda_gated(struct device *device, const struct gated_op *o, const float *x) {
    struct cuda_device *d = cuda_of(device);
    const struct linear *in = o->in;
    struct cu_matmul_args a = {.epilogue = o->ungated ? CU_ACT : CU_GATED,
                               .out = d->ffn,
                               .out_type = d->type,
                               .act = (uint32_t)o->act,
                               .bias = {in[0].bias}};
    struct linear halves[2] = {in[0], in[0]};
    bool two = !o->ungated && in[0].w.n_out == o->ffn_dim;
    cuda_part(d, PART_MATMUL);
    if (cuda_skips(d))
        return;
    if (two && !alike(in, 2)) {
        gated_in_parts(d, o, x);
        return;
    }
    struct cuda_group g = cuda_group_of(
        (const struct linear *const[]){&in[0], o->ungated ? NULL : &in[1]}, two ? 2 : 1);
    a.ld_out = (uint32_t)cuda_padded(o->ffn_dim);
    if (!o->ungated && g.pairs.n_mats == 2) {
        a.bias[1] = in[1].bias;
    } else if (!o->ungated) { // both in one matrix
        size_t half = o->ffn_dim * in[0].w.row_bytes;
        halves[0].w.n_out = halves[1].w.n_out = o->ffn_dim;
        halves[1].w.data = (const unsigned char *)in[0].w.data + half;
        a.bias[1] = in[0].bias ? in[0].bias + o->ffn_dim : NULL;
        g = cuda_group_of((const struct linear *const[]){&halves[0], &halves[1]}, 2);
        g.both = true;
        g.w[0] = g.w[1] = &in[0].w;
    }
    if (!o->ungated)
        g.pairs.pairing = CU_GATE_UP;
    if (cuda_set_weights(d, &a, &g))
        cuda_multiply_hidden(d, &a, g.layout, x, o->pre);
}

void cuda_project(struct device *device, float *y, enum device_source from, const struct linear *l,
                  bool add, float scale) {
    struct cuda_device *d = cuda_of(device);
    struct cuda_group g = cuda_group_of(&l, 1);
    struct cu_matmul_args a = {.epilogue = add ? CU_ADD : CU_STORE,
                               .bias = {l->bias},
                               .x = from == FROM_ATTEND ? d->attn : d->ffn,
                               .ldx = (uint32_t)cuda_padded(l->w.n_in),
                               .y = y,
                               .ldy = (uint32_t)d->ld_hidden,
                               .scale = scale};
    cuda_part(d, PART_MATMUL);
    if (cuda_skips(d) || !cuda_set_weights(d, &a, &g))
        return;
    if (d->type == CU_F32)
        cuda_product(d, &a, g.layout, &(struct cuda_x){a.x, a.ldx, 1, d->rows});
    else
        cuda_multiply(d, &a, g.layout, d->rows);
}

/* logits of wanted rows [first, first + n) -> d->logits */
static void run_head(struct cuda_device *d, const struct head_op *o, size_t first, size_t n) {
    const struct linear *l = o->head;
    struct cuda_group g = cuda_group_of(&l, 1);
    size_t row = first * d->ld_hidden; // whole blocks
    struct cu_matmul_args a = {.epilogue = CU_STORE,
                               .bias = {l->bias},
                               .ldx = (uint32_t)d->ld_hidden,
                               .wanted = true,
                               .wanted_first = (uint32_t)first,
                               .most = (uint32_t)n,
                               .y = d->logits,
                               .ldy = (uint32_t)d->shape.vocab_size,
                               .divisor = o->divisor,
                               .softcap = o->softcap};
    if (!cuda_set_weights(d, &a, &g))
        return;
    if (d->type == CU_F32) {
        cuda_product(d, &a, g.layout, &(struct cuda_x){d->normed + row, d->ld_hidden, 1, n});
        return;
    }
    a.x = (const unsigned char *)d->rounded + 2 * row;
    cuda_multiply(d, &a, g.layout, n);
}

int cuda_head(struct device *device, const struct head_op *o, float *logits, float *hidden,
              struct err *e) {
    struct cuda_device *d = cuda_of(device);
    size_t vocab = d->shape.vocab_size, dim = d->shape.hidden_dim, n = d->n_want;
    cuda_part(d, PART_HEAD);
    if (n > 0 && d->failed.code == 0) {
        enum cu_type t = type_of(d, &o->head->w);
        if (!cuda_skips(d))
            cuda_run_norm(d, t == CU_F32 ? NULL : d->rounded, t,
                          t == CU_F32 ? d->normed : d->hidden, d->base.x, o->norm, true);
        size_t most = d->rows < d->logit_rows ? d->rows : d->logit_rows;
        for (size_t first = 0; first < n && (logits || d->recording || d->replaying);
             first += most) {
            size_t rows = d->recording || d->replaying ? d->rows
                          : n - first < most           ? n - first
                                                       : most;
            if (!cuda_skips(d))
                run_head(d, o, first, rows);
            if (d->recording || d->replaying) // a graph has all rows at once
                cuda_end_step(d);
            size_t got = n - first < most ? n - first : most;
            if (logits)
                cu_to_host(d->c, logits + first * vocab, d->logits, got * vocab * sizeof *logits);
        }
        const float *normed = t == CU_F32 ? d->normed : d->hidden;
        for (size_t i = 0; i < n && hidden; i++)
            cu_to_host(d->c, hidden + i * dim, normed + i * d->ld_hidden, dim * sizeof *hidden);
        cuda_step_queued(d);
        if (cu_sync(d->c, e) == 0) {
            cuda_step_ended(d);
            d->queued = false;
            if (d->uploads) // the first step: later ones need no buffers for weights
                (void)cu_upload_end(d->c, e);
            d->uploads = false;
        }
    }
    const struct err *why = d->failed.code ? &d->failed : cu_error(d->c);
    device->lost = why != NULL;
    if (why)
        *e = *why;
    return why ? -1 : 0;
}
