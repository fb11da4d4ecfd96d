/* Loading matrices, vectors and norms by the names of the family: see load.h.
 *
 * A matrix is opened by common/quant, which knows how files store it. A vector (norm, bias) is only
 * noted here, and copied to f32 when its layer is first used.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/load.h"

#include <stdio.h>

void load_wrong(struct loader *l, const char *fmt, ...) {
    char line[2 * LOAD_NAME_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    buf_fmt(&l->m->wrong, "%s\n", line);
    l->n_wrong++;
}

void load_expand(char out[LOAD_NAME_BYTES], const char *prefix, const char *name, size_t layer,
                 size_t expert) {
    enum { MOST_DIGITS = 20 };
    size_t n = (size_t)snprintf(out, LOAD_NAME_BYTES, "%s", prefix);
    for (; *name && n < LOAD_NAME_BYTES - MOST_DIGITS - 1; name++) {
        if (*name == '#' || *name == '@')
            n += (size_t)snprintf(out + n, LOAD_NAME_BYTES - n, "%zu",
                                  *name == '#' ? layer : expert);
        else
            out[n++] = *name;
    }
    out[n] = '\0';
}

/* The family must name each tensor that its spec asks for. */
static bool has_name(struct loader *l, const char *name) {
    if (!name)
        load_wrong(l, "model type %s does not name a tensor that its spec asks for",
                   l->s->model_type);
    return name != NULL;
}

/* The vector [n] will be copied to `to`. False if it is wrong. */
static bool vector_to(struct loader *l, float *to, const char *module, const char *ending,
                      size_t n) {
    struct layers *m = l->m;
    struct err e = {0};
    const struct tensor *t = mat_source_floats(&l->source, module, ending, n, 0, &e);
    if (!t) {
        load_wrong(l, "%s", e.msg);
        return false;
    }
    if (m->n_vectors == l->vectors_cap) {
        l->vectors_cap = l->vectors_cap ? 2 * l->vectors_cap : 64;
        m->vectors = xreallocarray(m->vectors, l->vectors_cap, sizeof *m->vectors);
    }
    m->vectors[m->n_vectors++] = (struct pending_copy){to, t};
    return true;
}

const float *load_vector(struct loader *l, const char *module, const char *ending, size_t n) {
    float *v = arena_alloc(&l->m->mem, n * sizeof *v);
    return vector_to(l, v, module, ending, n) ? v : NULL;
}

/* ---- Matrices ---- */

static char *in_arena(struct loader *l, const char *text) {
    size_t n = strlen(text) + 1;
    return memcpy(arena_alloc(&l->m->mem, n), text, n);
}

void load_note(struct loader *l, const char *module, const char *stack, const struct mat *w) {
    struct layers *m = l->m;
    if (!w->data)
        return;
    if (m->n_matrices == m->matrices_cap) {
        m->matrices_cap = m->matrices_cap ? 2 * m->matrices_cap : 64;
        m->matrices = xreallocarray(m->matrices, m->matrices_cap, sizeof *m->matrices);
    }
    m->matrices[m->n_matrices++] = (struct layers_matrix){
        .module = in_arena(l, module), .stack = stack ? in_arena(l, stack) : NULL, .w = *w};
}

static struct mat open_mat(struct loader *l, const struct mat_source *source, const char *module,
                           size_t n_out, size_t n_in) {
    struct mat m = {.n_out = n_out, .n_in = n_in};
    struct err e = {0};
    if (mat_open(source, module, n_out, n_in, &m, &e) != 0)
        load_wrong(l, "%s", e.msg);
    load_note(l, module, NULL, &m);
    return m;
}

struct linear load_linear(struct loader *l, const char *name, size_t layer, size_t expert,
                          size_t n_out, size_t n_in, bool bias) {
    char module[LOAD_NAME_BYTES];
    struct linear y = {.w = {.n_out = n_out, .n_in = n_in}};
    if (!has_name(l, name))
        return y;
    load_expand(module, l->prefix, name, layer, expert);
    y.w = open_mat(l, &l->source, module, n_out, n_in);
    if (bias)
        y.bias = load_vector(l, module, ".bias", n_out);
    return y;
}

struct mat load_stack(struct loader *l, const char *name, size_t n, size_t n_out, size_t n_in) {
    struct mat m = {0};
    struct err e = {0};
    if (mat_open_stack(&l->source, name, n, n_out, n_in, &m, &e) != 0)
        load_wrong(l, "%s", e.msg);
    return m;
}

struct linear load_table(struct loader *l, const char *prefix, const char *name, size_t n_out,
                         size_t n_in) {
    char module[LOAD_NAME_BYTES];
    struct mat_source source = l->source;
    source.transposed = false;
    load_expand(module, prefix, name, 0, 0);
    return (struct linear){.w = open_mat(l, &source, module, n_out, n_in)};
}

/* ---- Norms ---- */

static struct norm norm_of(const struct spec *s, const float *weight) {
    return (struct norm){
        .weight = weight, .kind = s->norm, .eps = s->norm_eps, .offset = s->norm_offset};
}

struct norm load_norm(struct loader *l, bool present, const char *name, size_t layer, size_t n) {
    char module[LOAD_NAME_BYTES];
    struct norm y = norm_of(l->s, NULL);
    if (!present || !has_name(l, name))
        return y;
    load_expand(module, l->prefix, name, layer, 0);
    y.weight = load_vector(l, module, ".weight", n);
    if (l->s->norm == NORM_LAYER && !l->s->no_norm_bias)
        y.bias = load_vector(l, module, ".bias", n);
    return y;
}

/* A norm of its own for each head (a name with '@') becomes one vector [n_heads, head_dim], without
 * a bias. */
struct norm load_head_norm(struct loader *l, const char *name, size_t layer, size_t n_heads) {
    const struct spec *s = l->s;
    if (s->qk_norm != QK_NORM_EACH)
        return load_norm(l, s->qk_norm != QK_NORM_NONE, name, layer,
                         s->qk_norm == QK_NORM_ALL ? n_heads * s->head_dim : s->head_dim);
    float *all = arena_alloc(&l->m->mem, n_heads * s->head_dim * sizeof *all);
    for (size_t h = 0; h < n_heads && has_name(l, name); h++) {
        char module[LOAD_NAME_BYTES];
        load_expand(module, l->prefix, name, layer, h);
        vector_to(l, all + h * s->head_dim, module, ".weight", s->head_dim);
    }
    return norm_of(s, all);
}

/* ---- To a device ---- */

int load_send_linear(struct device *d, struct linear *l, struct err *e) {
    if (!l->w.data)
        return 0;
    int rc = d->ops->load(d, &l->w, e);
    return rc == 0 && l->bias ? d->ops->load_vector(d, &l->bias, l->w.n_out, e) : rc;
}

int load_send_norm(struct device *d, struct norm *y, size_t n, struct err *e) {
    int rc = y->weight ? d->ops->load_vector(d, &y->weight, n, e) : 0;
    return rc == 0 && y->bias ? d->ops->load_vector(d, &y->bias, n, e) : rc;
}
