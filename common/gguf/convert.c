/* GGUF tensors as items to convert: see convert.h. Rows are dequantised one at a time.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "gguf/convert.h"

#include <stdlib.h>

#include "gguf/keep.h"

static void gguf_row(const void *source, uint64_t i, float *out) {
    gguf_hf_tensor_row(source, i, out);
}

struct convert_item *gguf_convert_items(const struct gguf_model *m, enum dtype t, bool keep,
                                        size_t *n_kept) {
    *n_kept = 0;
    struct convert_item *items = xcalloc(m->n_tensors, sizeof *items);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct gguf_hf_tensor *h = &m->tensors[i];
        if (keep && gguf_keep(h)) {
            items[i] = gguf_keep_item(h);
            ++*n_kept;
            continue;
        }
        items[i] = (struct convert_item){.name = xstrdup(h->name),
                                         .dtype = t,
                                         .n_dims = h->n_dims,
                                         .shape = {h->shape[0], h->shape[1]},
                                         .n_rows = h->n_rows,
                                         .n_cols = h->n_cols,
                                         .n_bytes = h->n_rows * h->n_cols * (dtype_bits(t) / 8),
                                         .source = h,
                                         .row = gguf_row};
    }
    return items;
}

void gguf_convert_free(struct convert_item *items, size_t n) {
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)items[i].name);
    free(items);
}
