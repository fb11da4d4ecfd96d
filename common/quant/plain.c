/* The plain format: MODULE.weight [n_out, n_in] as F32, F16 or BF16, read from the mapping.
 *
 * GPT-2's files store [n_in, n_out]. Kernels read the inputs of an output side by side, so these
 * matrices are copied.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/format.h"

static bool plain_claims(const struct mat_source *s, const char *module) {
    return mat_source_find(s, module, ".weight") != NULL;
}

/* A copy of t [n_in, n_out] as [n_out, n_in]. It is made in blocks of 32 x 32 elements, so that the
 * lines of both sides stay in L1. */
static const void *transpose(struct mat_memory *memory, const struct tensor *t, size_t n_in,
                             size_t n_out) {
    enum { BLOCK = 32 };
    size_t size = dtype_bits(t->dtype) / 8;
    const unsigned char *from = t->data;
    unsigned char *to = mat_memory_take(memory, (size_t)t->n_bytes);
    for (size_t i0 = 0; i0 < n_in; i0 += BLOCK)
        for (size_t o0 = 0; o0 < n_out; o0 += BLOCK)
            for (size_t i = i0; i < n_in && i < i0 + BLOCK; i++)
                for (size_t o = o0; o < n_out && o < o0 + BLOCK; o++)
                    memcpy(to + (o * n_in + i) * size, from + (i * n_out + o) * size, size);
    return to;
}

static int plain_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                      struct mat *m, struct err *e) {
    if (s->n_stack > 0) {
        struct mat all;
        const struct tensor *stack =
            mat_source_array(s, module, ".weight", (size_t[]){s->n_stack, n_out, n_in}, 3, e);
        if (!stack)
            return -1;
        all = mat_plain(stack->data, stack->dtype, s->n_stack * n_out, n_in);
        *m = mat_rows(&all, s->stack * n_out, n_out);
        return 0;
    }
    const struct tensor *t = s->transposed
                                 ? mat_source_floats(s, module, ".weight", n_in, n_out, e)
                                 : mat_source_floats(s, module, ".weight", n_out, n_in, e);
    if (!t)
        return -1;
    const void *data = s->transposed ? transpose(s->memory, t, n_in, n_out) : t->data;
    *m = mat_plain(data, t->dtype, n_out, n_in);
    return 0;
}

int mat_open_stack(const struct mat_source *s, const char *name, size_t n, size_t n_out,
                   size_t n_in, struct mat *m, struct err *e) {
    const struct tensor *t = mat_source_array(s, name, "", (size_t[]){n, n_out, n_in}, 3, e);
    if (!t)
        return -1;
    *m = mat_plain(t->data, t->dtype, n * n_out, n_in); // all rows of the file
    return 0;
}

const struct mat_format mat_plain_format = {"plain", plain_claims, plain_open};
