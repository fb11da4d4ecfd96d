/* The formats of tokpipe itself, i8, i4 and nf4, as quant(5) describes them. A matrix is one
 * tensor:
 *
 *     MODULE.weight_i8      U8 [panels, bytes of a panel]   panel_i8.h
 *     MODULE.weight_i4_32   the same, blocks of 32 inputs   panel_i4.h
 *     MODULE.weight_i4_16   the same, blocks of 16
 *     MODULE.weight_nf4     the same, blocks of 64 and NF4's table
 *
 * Panels hold 16 rows with their scales, in the order in which kernels read them. So the matrix
 * points into the mapping, and nothing is repacked.
 *
 * Refused: a tensor of another type or shape than n_out and n_in ask for, and more inputs than
 * --precise can widen. No value of a byte is refused: each has a meaning.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/format.h"
#include "weights/panel_i4.h"

enum { MAX_INPUTS = 1 << 17 };

static const struct kind {
    const char *ending;
    enum mat_layout layout;
} kinds[] = {
    {".weight_i8", MAT_I8},
    {".weight_i4_32", MAT_I4_32},
    {".weight_i4_16", MAT_I4_16},
    {".weight_nf4", MAT_I4_64},
};
enum { N_KINDS = sizeof kinds / sizeof *kinds };

/* The kind of the module's tensor; NULL if it has none of them. */
static const struct kind *kind_of(const struct mat_source *s, const char *module) {
    for (size_t i = 0; i < N_KINDS; i++)
        if (mat_source_find(s, module, kinds[i].ending))
            return &kinds[i];
    return NULL;
}

static bool tokpipe_claims(const struct mat_source *s, const char *module) {
    return kind_of(s, module) != NULL;
}

static int tokpipe_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                        struct mat *m, struct err *e) {
    const struct kind *kind = kind_of(s, module);
    kind = kind ? kind : &kinds[0]; // the message names what is missing
    if (n_in > MAX_INPUTS)
        return err_set(e, EXIT_DATA, "tensor '%s%s': %zu inputs, more than %d", module,
                       kind->ending, n_in, MAX_INPUTS);
    const struct mat one = mat_panels("", kind->layout, PANEL_ROWS, n_in);
    const size_t panels = n_out / PANEL_ROWS + (n_out % PANEL_ROWS > 0);
    const struct tensor *t = mat_source_shaped(s, module, kind->ending, panels, mat_bytes(&one), e);
    if (!t)
        return -1;
    if (t->dtype != DT_U8)
        return err_set(e, EXIT_DATA, "tensor '%s': expected U8, found %s", t->name,
                       dtype_name(t->dtype));
    *m = mat_panels(t->data, kind->layout, n_out, n_in);
    return 0;
}

const struct mat_format mat_tokpipe_format = {"tokpipe", tokpipe_claims, tokpipe_open};
