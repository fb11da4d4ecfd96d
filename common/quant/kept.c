/* GGUF's blocks, as st-convert --keep-quant stores them (weights/kept.h). A matrix is one tensor,
 * and is read from the mapping:
 *
 *     MODULE.weight_q4_0, _q4_1, _q8_0, _q4_k or _q6_k   U8 [bytes]
 *
 * Refused: a tensor of another type or size than n_out and n_in ask for. No value of a byte is
 * refused: each has a meaning.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/kept.h"

#include "quant/format.h"

/* The type of the module's tensor; KEPT_TYPES if it has none of them. */
static enum kept_type type_of(const struct mat_source *s, const char *module) {
    enum kept_type t = KEPT_Q4_0;
    while (t < KEPT_TYPES && !mat_source_peek(s, module, kept_kind(t)->ending))
        t++;
    return t;
}

static bool kept_claims(const struct mat_source *s, const char *module) {
    return type_of(s, module) < KEPT_TYPES;
}

static int kept_format_open(const struct mat_source *s, const char *module, size_t n_out,
                            size_t n_in, struct mat *m, struct err *e) {
    const enum kept_type t = type_of(s, module);
    const struct kept_kind *k = kept_kind(t);
    struct kept_map map;
    if (!kept_map(t, n_out, n_in, &map))
        return err_set(e, EXIT_DATA, "tensor '%s%s': %zu inputs are no multiple of %zu", module,
                       k->ending, n_in, k->block);
    const struct tensor *tensor = mat_source_typed(s, module, k->ending, DT_U8, map.all, 0, e);
    if (!tensor)
        return -1;
    struct mat_quant *q = mat_memory_take(s->memory, sizeof *q);
    kept_open(t, tensor->data, n_out, n_in, q, m);
    return 0;
}

const struct mat_format mat_kept_format = {"gguf", kept_claims, kept_format_open};
