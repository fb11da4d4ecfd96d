/* Tensors -> layers: each name that the family's row gives is looked up, and its shape and type
 * checked against the spec. Nothing is copied but vectors (a few KiB a layer) and GPT-2's matrices,
 * which are stored transposed.
 *
 * All that is wrong is told at once: one missing tensor is often the first of many, and the names
 * show which key of config.json is at odds with the file.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "spec/family.h"
#include "model/layers.h"

enum { MAX_NAMED = 8, MAX_WRONG = 1000, NAME_BYTES = 256 };

struct loader {
    struct layers *m;
    const struct spec *s;
    const struct family_names *names;
    const char *prefix;
    const struct weights *w;
    size_t n_wrong;
    size_t vectors_cap;
};

/* Writes the tensor's name: '#' is the layer, '@' the expert. */
static void expand(char out[NAME_BYTES], const char *prefix, const char *name, size_t layer,
                   size_t expert, const char *ending) {
    size_t n = (size_t)snprintf(out, NAME_BYTES, "%s", prefix);
    for (; *name && n < NAME_BYTES - 40; name++) {
        if (*name == '#' || *name == '@')
            n += (size_t)snprintf(out + n, NAME_BYTES - n, "%zu", *name == '#' ? layer : expert);
        else
            out[n++] = *name;
    }
    snprintf(out + n, NAME_BYTES - n, "%s", ending);
}

static void PRINTF_LIKE(2, 3) wrong(struct loader *l, const char *fmt, ...) {
    char line[2 * NAME_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_fmt(&l->m->wrong, "%s\n", line);
    l->n_wrong++;
}

/* The tensor [n0, n1] (n1 0: a vector) of a type that kernels read, or NULL with what is wrong
 * noted. */
static const struct tensor *need(struct loader *l, const char *name, size_t n0, size_t n1) {
    const struct tensor *t = weights_find(l->w, name);
    char expected[64], shape[200];
    if (n1 > 0)
        snprintf(expected, sizeof expected, "[%zu, %zu]", n0, n1);
    else
        snprintf(expected, sizeof expected, "[%zu]", n0);
    if (!t) {
        wrong(l, "%s is missing (%s expected)", name, expected);
        return NULL;
    }
    l->m->used[t - l->w->tensors] = true;
    size_t n_dims = n1 > 0 ? 2 : 1;
    if (t->n_dims != n_dims || t->shape[0] != n0 || (n1 > 0 && t->shape[1] != n1)) {
        wrong(l, "%s is %s, not %s", name, tensor_shape_text(t, shape), expected);
        return NULL;
    }
    enum mat_layout layout;
    if (!mat_layout_of(t->dtype, &layout)) {
        wrong(l, "%s is of type %s, not F32, F16 or BF16", name, dtype_name(t->dtype));
        return NULL;
    }
    return t;
}

/* The tensor [n], to be copied to `to` as f32 (see layers_ready). */
static bool vector_to(struct loader *l, float *to, const char *name, size_t n) {
    struct layers *m = l->m;
    const struct tensor *t = need(l, name, n, 0);
    if (!t)
        return false;
    if (m->n_vectors == l->vectors_cap) {
        l->vectors_cap = l->vectors_cap ? 2 * l->vectors_cap : 64;
        m->vectors = xreallocarray(m->vectors, l->vectors_cap, sizeof *m->vectors);
    }
    m->vectors[m->n_vectors++] = (struct pending_copy){to, t};
    return true;
}

static const float *vector(struct loader *l, const char *name, size_t n) {
    float *v = arena_alloc(&l->m->mem, n * sizeof *v);
    return vector_to(l, v, name, n) ? v : NULL;
}

/* The family's row must name what its spec asks for. */
static bool named(struct loader *l, const char *name) {
    if (!name)
        wrong(l, "model type %s has no name for a tensor that its spec asks for", l->s->model_type);
    return name != NULL;
}

/* A private copy of t [n_in, n_out] as [n_out, n_in]: kernels read a weight's inputs side by side.
 * In blocks, so that both sides stay in cache. */
static const void *transpose(struct layers *m, const struct tensor *t, size_t n_in, size_t n_out) {
    enum { BLOCK = 32 };
    size_t size = dtype_bits(t->dtype) / 8;
    const unsigned char *from = t->data;
    unsigned char *to = xaligned(64, (size_t)t->n_bytes);
    m->transposed = xreallocarray(m->transposed, m->n_transposed + 1, sizeof *m->transposed);
    m->transposed[m->n_transposed++] = to;
    for (size_t i0 = 0; i0 < n_in; i0 += BLOCK)
        for (size_t o0 = 0; o0 < n_out; o0 += BLOCK)
            for (size_t i = i0; i < n_in && i < i0 + BLOCK; i++)
                for (size_t o = o0; o < n_out && o < o0 + BLOCK; o++)
                    memcpy(to + (o * n_in + i) * size, from + (i * n_out + o) * size, size);
    return to;
}

/* The matrix [n_out, n_in] and its bias. */
static struct linear linear(struct loader *l, const char *name, size_t layer, size_t expert,
                            size_t n_out, size_t n_in, bool bias) {
    char full[NAME_BYTES];
    struct linear y = {.w = mat_plain(NULL, DT_F32, n_out, n_in)};
    if (!named(l, name))
        return y;
    expand(full, l->prefix, name, layer, expert, ".weight");
    const struct tensor *t =
        l->s->transposed ? need(l, full, n_in, n_out) : need(l, full, n_out, n_in);
    if (t) {
        const void *data = l->s->transposed ? transpose(l->m, t, n_in, n_out) : t->data;
        y.w = mat_plain(data, t->dtype, n_out, n_in);
    }
    expand(full, l->prefix, name, layer, expert, ".bias");
    if (bias)
        y.bias = vector(l, full, n_out);
    return y;
}

/* A table of rows that are looked up, never transposed. */
static struct linear table(struct loader *l, const char *prefix, const char *name, size_t n_out,
                           size_t n_in) {
    char full[NAME_BYTES];
    expand(full, prefix, name, 0, 0, ".weight");
    const struct tensor *t = need(l, full, n_out, n_in);
    return (struct linear){.w = mat_plain(t ? t->data : NULL, t ? t->dtype : DT_F32, n_out, n_in)};
}

static struct norm norm_of(const struct spec *s, const float *weight) {
    return (struct norm){
        .weight = weight, .kind = s->norm, .eps = s->norm_eps, .offset = s->norm_offset};
}

static struct norm norm(struct loader *l, bool there, const char *name, size_t layer, size_t n) {
    char full[NAME_BYTES];
    struct norm y = norm_of(l->s, NULL);
    if (!there || !named(l, name))
        return y;
    expand(full, l->prefix, name, layer, 0, ".weight");
    y.weight = vector(l, full, n);
    expand(full, l->prefix, name, layer, 0, ".bias");
    if (l->s->norm == NORM_LAYER)
        y.bias = vector(l, full, n);
    return y;
}

/* The norm of q or k. One for each head (a name with '@') becomes one vector [n_heads, head_dim],
 * without a bias. */
static struct norm head_norm(struct loader *l, const char *name, size_t layer, size_t n_heads) {
    const struct spec *s = l->s;
    if (s->qk_norm != QK_NORM_EACH)
        return norm(l, s->qk_norm != QK_NORM_NONE, name, layer,
                    s->qk_norm == QK_NORM_ALL ? n_heads * s->head_dim : s->head_dim);
    float *all = arena_alloc(&l->m->mem, n_heads * s->head_dim * sizeof *all);
    for (size_t h = 0; h < n_heads && named(l, name); h++) {
        char full[NAME_BYTES];
        expand(full, l->prefix, name, layer, h, ".weight");
        vector_to(l, all + h * s->head_dim, full, s->head_dim);
    }
    return norm_of(s, all);
}

static void load_attention(struct loader *l, struct layer *y, size_t i) {
    const struct spec *s = l->s;
    const struct family_names *n = l->names;
    size_t q_dim = s->n_heads * s->head_dim, kv_dim = s->n_kv_heads * s->head_dim,
           dim = s->hidden_dim;
    if (s->fused_qkv) {
        y->qkv[0] = linear(l, n->qkv, i, 0, q_dim + 2 * kv_dim, dim, s->qkv_bias);
    } else {
        y->qkv[0] = linear(l, n->q, i, 0, q_dim, dim, s->qkv_bias);
        y->qkv[1] = linear(l, n->k, i, 0, kv_dim, dim, s->qkv_bias);
        y->qkv[2] = linear(l, n->v, i, 0, kv_dim, dim, s->qkv_bias);
    }
    y->q_norm = head_norm(l, n->q_norm, i, s->n_heads);
    y->k_norm = head_norm(l, n->k_norm, i, s->n_kv_heads);
    y->o = linear(l, n->o, i, 0, dim, q_dim, s->o_bias);
}

static void load_experts(struct loader *l, struct layer *y, size_t i) {
    const struct spec *s = l->s;
    const struct family_names *n = l->names;
    size_t dim = s->hidden_dim, ffn = s->expert_ffn_dim;
    y->router = linear(l, n->router, i, 0, s->n_experts, dim, false);
    if (!y->router.w.data) // then the experts need not be looked for, nor memory be taken for them
        return;
    y->experts = arena_alloc(&l->m->mem, s->n_experts * 3 * sizeof *y->experts);
    for (size_t x = 0; x < s->n_experts; x++) {
        y->experts[3 * x] = linear(l, n->expert_gate, i, x, ffn, dim, false);
        y->experts[3 * x + 1] = linear(l, n->expert_up, i, x, ffn, dim, false);
        y->experts[3 * x + 2] = linear(l, n->expert_down, i, x, dim, ffn, false);
    }
}

static void load_ffn(struct loader *l, struct layer *y, size_t i) {
    const struct spec *s = l->s;
    const struct family_names *n = l->names;
    if (s->fused_gate) {
        y->ffn_in[0] = linear(l, n->gate_up, i, 0, 2 * s->ffn_dim, s->hidden_dim, s->ffn_bias);
    } else if (s->ungated) {
        y->ffn_in[0] = linear(l, n->up, i, 0, s->ffn_dim, s->hidden_dim, s->ffn_bias);
    } else {
        y->ffn_in[0] = linear(l, n->gate, i, 0, s->ffn_dim, s->hidden_dim, s->ffn_bias);
        y->ffn_in[1] = linear(l, n->up, i, 0, s->ffn_dim, s->hidden_dim, s->ffn_bias);
    }
    y->down = linear(l, n->down, i, 0, s->hidden_dim, s->ffn_dim, s->ffn_bias);
}

static void load_layer(struct loader *l, size_t i) {
    const struct spec *s = l->s;
    const struct family_names *n = l->names;
    struct layer *y = &l->m->layers[i];
    y->attn_norm = norm(l, !s->no_pre_norm, n->attn_norm, i, s->hidden_dim);
    y->ffn_norm = norm(l, !s->no_pre_norm && !s->parallel, n->ffn_norm, i, s->hidden_dim);
    y->attn_post_norm = norm(l, s->post_norm, n->attn_post_norm, i, s->hidden_dim);
    y->ffn_post_norm = norm(l, s->post_norm, n->ffn_post_norm, i, s->hidden_dim);
    load_attention(l, y, i);
    if (s->n_experts > 0 && !s->layers[i].dense)
        load_experts(l, y, i);
    else
        load_ffn(l, y, i);
}

static bool same_bytes(const struct tensor *t, const struct mat *m) {
    enum mat_layout layout;
    return m->data && mat_layout_of(t->dtype, &layout) && layout == m->layout &&
           t->n_elements == m->n_out * m->n_in && memcmp(t->data, m->data, (size_t)t->n_bytes) == 0;
}

static void load_head(struct loader *l) {
    const struct spec *s = l->s;
    char full[NAME_BYTES];
    expand(full, "", l->names->head, 0, 0, ".weight");
    l->m->head = l->m->embed;
    const struct tensor *own = weights_find(l->w, full);
    // A tied model whose file has a head all the same: a copy, or else the file is right (as in the
    // reference).
    if (!s->tied || (own && !same_bytes(own, &l->m->embed.w)))
        l->m->head = table(l, "", l->names->head, s->vocab_size, s->hidden_dim);
    if (own)
        l->m->used[own - l->w->tensors] = true;
    expand(full, "", l->names->head, 0, 0, ".bias");
    if (s->head_bias)
        l->m->head.bias = vector(l, full, s->vocab_size);
}

bool layers_ignores(const struct spec *s, const char *tensor) {
    for (const char *const *x = spec_family(s)->names->ignored; x && *x; x++)
        if (str_ends_with(str_of(tensor), *x))
            return true;
    return false;
}

static void warn_left_over(const struct loader *l, struct buf *warnings) {
    size_t n = 0;
    for (size_t i = 0; i < l->w->n_tensors; i++) {
        const struct tensor *t = &l->w->tensors[i];
        bool ignored = l->m->used[i] || layers_ignores(l->s, t->name);
        if (!ignored && ++n <= MAX_NAMED)
            buf_fmt(warnings, "tensor %s is left over: model type %s has no use for it: %s\n",
                    t->name, l->s->model_type, l->w->files[t->file].path);
    }
    if (n > MAX_NAMED)
        buf_fmt(warnings, "%zu more tensors are left over\n", n - MAX_NAMED);
}

/* One error that names the first of what is wrong. */
static int refuse_wrong(const struct loader *l, struct err *e) {
    struct buf text = {0};
    size_t named = 0;
    for (const char *p = l->m->wrong.p, *end; named < MAX_NAMED && (end = strchr(p, '\n'));
         p = end + 1)
        buf_fmt(&text, "%s%.*s", named++ > 0 ? "; " : "", (int)(end - p), p);
    if (l->n_wrong > named)
        buf_fmt(&text, "; and %zu more", l->n_wrong - named);
    err_set(e, EXIT_DATA, "the tensors do not fit config.json: %s: %s", text.p,
            l->w->files[0].path);
    buf_free(&text);
    return -1;
}

int layers_load(struct layers *m, const struct spec *s, const struct weights *w,
                struct buf *warnings, struct err *e) {
    *m = (struct layers){.layers = xcalloc(s->n_layers, sizeof *m->layers),
                         .vectors_of = xcalloc(s->n_layers + 1, sizeof *m->vectors_of),
                         .used = xcalloc(w->n_tensors + 1, sizeof *m->used)};
    struct loader l = {.m = m, .s = s, .names = spec_family(s)->names, .w = w};
    char full[NAME_BYTES];
    expand(full, l.names->prefix, l.names->embed, 0, 0, ".weight");
    l.prefix =
        weights_find(w, full) ? l.names->prefix : ""; // the hub has GPT-2 without "transformer."
    expand(full, "", l.names->embed, 0, 0, ".weight");
    if (!weights_find(w, full))
        l.prefix = l.names->prefix;

    m->embed = table(&l, l.prefix, l.names->embed, s->vocab_size, s->hidden_dim);
    if (s->learned_pos)
        m->positions = table(&l, l.prefix, l.names->positions, s->max_pos, s->hidden_dim);
    for (size_t i = 0; i < s->n_layers && l.n_wrong < MAX_WRONG; i++) {
        load_layer(&l, i);
        m->vectors_of[i] = m->n_vectors;
    }
    m->final_norm = norm(&l, true, l.names->final_norm, 0, s->hidden_dim);
    load_head(&l);
    m->vectors_of[s->n_layers] = m->n_vectors;

    warn_left_over(&l, warnings);
    return l.n_wrong > 0 ? refuse_wrong(&l, e) : 0;
}

void layers_ready(struct layers *m, size_t layer) {
    for (; m->n_copied < m->vectors_of[layer]; m->n_copied++) {
        const struct pending_copy *v = &m->vectors[m->n_copied];
        for (size_t i = 0; i < v->from->n_elements; i++)
            v->to[i] = (float)dtype_value(v->from->dtype, v->from->data, i);
    }
}

/* ---- To a device ---- */

static int send_linear(struct device *d, struct linear *l, struct err *e) {
    if (!l->w.data)
        return 0;
    int rc = d->ops->load(d, &l->w, e);
    return rc == 0 && l->bias ? d->ops->load_vector(d, &l->bias, l->w.n_out, e) : rc;
}

static int send_norm(struct device *d, struct norm *y, size_t n, struct err *e) {
    int rc = y->weight ? d->ops->load_vector(d, &y->weight, n, e) : 0;
    return rc == 0 && y->bias ? d->ops->load_vector(d, &y->bias, n, e) : rc;
}

static int send_layer(struct device *d, struct layer *y, const struct spec *s, struct err *e) {
    struct linear *linears[] = {&y->qkv[0],    &y->qkv[1],    &y->qkv[2], &y->o,
                                &y->ffn_in[0], &y->ffn_in[1], &y->down,   &y->router};
    struct norm *norms[] = {&y->attn_norm, &y->attn_post_norm, &y->ffn_norm, &y->ffn_post_norm};
    size_t one = s->qk_norm == QK_NORM_HEAD ? s->head_dim : 0; // else of all heads
    int rc = 0;
    for (size_t i = 0; i < sizeof linears / sizeof *linears && rc == 0; i++)
        rc = send_linear(d, linears[i], e);
    for (size_t i = 0; y->experts && i < 3 * s->n_experts && rc == 0; i++)
        rc = send_linear(d, &y->experts[i], e);
    for (size_t i = 0; i < sizeof norms / sizeof *norms && rc == 0; i++)
        rc = send_norm(d, norms[i], s->hidden_dim, e);
    if (rc == 0)
        rc = send_norm(d, &y->q_norm, one ? one : s->n_heads * s->head_dim, e);
    return rc == 0 ? send_norm(d, &y->k_norm, one ? one : s->n_kv_heads * s->head_dim, e) : rc;
}

int layers_send(struct layers *m, const struct spec *s, struct device *d, struct err *e) {
    layers_ready(m, s->n_layers);
    if (send_linear(d, &m->embed, e) != 0 || send_linear(d, &m->positions, e) != 0)
        return -1;
    for (size_t l = 0; l < s->n_layers; l++)
        if (send_layer(d, &m->layers[l], s, e) != 0)
            return -1;
    if (send_norm(d, &m->final_norm, s->hidden_dim, e) != 0 || send_linear(d, &m->head, e) != 0)
        return -1;
    return d->ops->load_end(d, e);
}

void layers_free(struct layers *m) {
    for (size_t i = 0; i < m->n_transposed; i++)
        free(m->transposed[i]);
    free(m->transposed);
    free(m->layers);
    free(m->used);
    free(m->vectors);
    free(m->vectors_of);
    arena_free(&m->mem);
    buf_free(&m->wrong);
    *m = (struct layers){0};
}
