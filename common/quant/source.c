/* Finding and checking tensors for matrix formats, and memory for copies: see format.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "quant/format.h"

enum { NAME_BYTES = TENSOR_MAX_NAME + 1 }; // a longer name is in no file

const struct tensor *mat_source_find(const struct mat_source *s, const char *module,
                                     const char *ending) {
    char name[NAME_BYTES];
    int n = snprintf(name, sizeof name, "%s%s", module, ending);
    const struct tensor *t =
        n > 0 && (size_t)n < sizeof name ? weights_find(s->weights, name) : NULL;
    if (t)
        s->used[t - s->weights->tensors] = true;
    return t;
}

const struct tensor *mat_source_shaped(const struct mat_source *s, const char *module,
                                       const char *ending, size_t n0, size_t n1, struct err *e) {
    const struct tensor *t = mat_source_find(s, module, ending);
    char expected[64], found[200];
    if (n1 > 0)
        snprintf(expected, sizeof expected, "[%zu, %zu]", n0, n1);
    else
        snprintf(expected, sizeof expected, "[%zu]", n0);
    if (!t) {
        err_set(e, EXIT_DATA, "tensor '%s%s' is missing: expected %s", module, ending, expected);
        return NULL;
    }
    size_t n_dims = n1 > 0 ? 2 : 1;
    if (t->n_dims != n_dims || t->shape[0] != n0 || (n1 > 0 && t->shape[1] != n1)) {
        err_set(e, EXIT_DATA, "tensor '%s': expected %s, found %s", t->name, expected,
                tensor_shape_text(t, found));
        return NULL;
    }
    return t;
}

const struct tensor *mat_source_floats(const struct mat_source *s, const char *module,
                                       const char *ending, size_t n0, size_t n1, struct err *e) {
    const struct tensor *t = mat_source_shaped(s, module, ending, n0, n1, e);
    enum mat_layout layout;
    if (t && !mat_layout_of(t->dtype, &layout)) {
        err_set(e, EXIT_DATA, "tensor '%s': expected F32, F16 or BF16, found %s", t->name,
                dtype_name(t->dtype));
        return NULL;
    }
    return t;
}

void *mat_memory_take(struct mat_memory *m, size_t n) {
    void *p = xaligned(64, n);
    m->parts = xreallocarray(m->parts, m->n + 1, sizeof *m->parts);
    m->parts[m->n++] = p;
    return p;
}

void mat_memory_free(struct mat_memory *m) {
    for (size_t i = 0; i < m->n; i++)
        free(m->parts[i]);
    free(m->parts);
    *m = (struct mat_memory){0};
}
