/* Fuzz entry: the reader on arbitrary bytes. If it accepts them, every byte of every tensor is
 * read.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "base/hash.h"
#include "weights/safetensors.h"
#include "weights/stats.h"
#include "weights/values.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct weights w;
    struct err e = {0};
    if (weights_from_bytes(&w, "fuzz", data, size, size, &e) != 0) {
        if (e.code != EXIT_DATA || !e.msg[0] || w.tensors)
            abort();
        return 0;
    }
    uint64_t at = w.files[0].header_bytes;
    for (size_t i = 0; i < w.n_tensors; i++) {
        const struct tensor *t = &w.tensors[i];
        struct stats_tensor s;
        struct hash h;
        struct values_slice slice;
        char text[64];
        if (t->offset != at || weights_find(&w, t->name) != t)
            abort();
        at += t->n_bytes;
        stats_tensor(&s, t);
        hash_bytes(&h, t->data, (size_t)t->n_bytes);
        if (values_slice_parse(&slice, str_of(t->name), t, NULL) == 0 &&
            slice.n_elements > t->n_elements)
            abort();
        if (t->n_elements)
            values_text(t, t->n_elements - 1, text);
    }
    if (at != size)
        abort();
    weights_close(&w);
    return 0;
}
