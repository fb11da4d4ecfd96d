/* Finding and checking tensors for matrix formats, and memory for copies: see format.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "quant/format.h"

enum { NAME_BYTES = TENSOR_MAX_NAME + 1 }; // a longer name is in no file

const struct tensor *mat_source_peek(const struct mat_source *s, const char *module,
                                     const char *ending) {
    char name[NAME_BYTES];
    int n = snprintf(name, sizeof name, "%s%s", module, ending);
    return n > 0 && (size_t)n < sizeof name ? weights_find(s->weights, name) : NULL;
}

const struct tensor *mat_source_find(const struct mat_source *s, const char *module,
                                     const char *ending) {
    const struct tensor *t = mat_source_peek(s, module, ending);
    if (t)
        s->used[t - s->weights->tensors] = true;
    return t;
}

/* The tensor of that name and shape, marked as used; NULL with e set. */
static const struct tensor *find_shaped(const struct mat_source *s, const char *module,
                                        const char *ending, const size_t *shape, size_t n_dims,
                                        struct err *e) {
    const struct tensor *t = mat_source_find(s, module, ending);
    struct tensor wanted = {.n_dims = n_dims};
    char expected[200], found[200];
    bool same = t && t->n_dims == n_dims;
    for (size_t i = 0; i < n_dims; i++) {
        wanted.shape[i] = shape[i];
        same = same && t->shape[i] == shape[i];
    }
    if (same)
        return t;
    tensor_shape_text(&wanted, expected);
    if (!t)
        err_set(e, EXIT_DATA, "tensor '%s%s' is missing: expected %s", module, ending, expected);
    else
        err_set(e, EXIT_DATA, "tensor '%s': expected %s, found %s", t->name, expected,
                tensor_shape_text(t, found));
    return NULL;
}

const struct tensor *mat_source_shaped(const struct mat_source *s, const char *module,
                                       const char *ending, size_t n0, size_t n1, struct err *e) {
    return find_shaped(s, module, ending, (size_t[]){n0, n1}, n1 > 0 ? 2 : 1, e);
}

const struct tensor *mat_source_array(const struct mat_source *s, const char *module,
                                      const char *ending, const size_t *shape, size_t n_dims,
                                      struct err *e) {
    const struct tensor *t = find_shaped(s, module, ending, shape, n_dims, e);
    enum mat_layout layout;
    if (t && !mat_layout_of(t->dtype, &layout)) {
        err_set(e, EXIT_DATA, "tensor '%s': expected F32, F16 or BF16, found %s", t->name,
                dtype_name(t->dtype));
        return NULL;
    }
    return t;
}

const struct tensor *mat_source_floats(const struct mat_source *s, const char *module,
                                       const char *ending, size_t n0, size_t n1, struct err *e) {
    return mat_source_array(s, module, ending, (size_t[]){n0, n1}, n1 > 0 ? 2 : 1, e);
}

const struct tensor *mat_source_typed(const struct mat_source *s, const char *module,
                                      const char *ending, enum dtype type, size_t n0, size_t n1,
                                      struct err *e) {
    const struct tensor *t = mat_source_shaped(s, module, ending, n0, n1, e);
    if (t && t->dtype != type) {
        err_set(e, EXIT_DATA, "tensor '%s': expected %s, found %s", t->name, dtype_name(type),
                dtype_name(t->dtype));
        return NULL;
    }
    return t;
}

void *mat_memory_take(struct mat_memory *m, size_t n) {
    void *p = xaligned(64, n);
    m->parts = xreallocarray(m->parts, m->n + 1, sizeof *m->parts);
    m->parts[m->n++] = p;
    m->bytes += n;
    return p;
}

void mat_memory_free(struct mat_memory *m) {
    for (size_t i = 0; i < m->n; i++)
        free(m->parts[i]);
    free(m->parts);
    *m = (struct mat_memory){0};
}
