/* compressed-tensors, and AutoRound's files of that form. Which of its forms a module has, its
 * tensors show:
 *
 *     weight_packed I32 [n_out, n_in * bits / 32]   rows are streams of codes of 2 to 8 bits
 *     weight_packed U8  [n_out, n_in / 2]           E2M1: NVFP4 with weight_global_scale, or MXFP4
 *     weight        I8  [n_out, n_in]               int8
 *     weight     F8_E4M3 [n_out, n_in]              FP8
 *
 * weight_scale is [n_out, n_groups], [n_out, 1] or [1]; FP8 may have blocks. Integers: W = (code -
 * zero) * scale; codes and zero points are stored plus 2^(bits - 1), zero points as streams along
 * the outputs [n_out * bits / 32, n_groups]. NVFP4: W = code * scale / global scale. MXFP4 has
 * scales in E8M0. Source: compressed_tensors/compressors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/panels.h"

enum { NVFP4_GROUP = 16, MX_GROUP = 32 };

static bool compressed_claims(const struct mat_source *s, const char *module) {
    if (!s->config || s->config->store != QUANT_COMPRESSED)
        return false;
    const struct tensor *t = mat_source_peek(s, module, ".weight");
    return mat_source_peek(s, module, ".weight_packed") ||
           (t && (t->dtype == DT_I8 || t->dtype == DT_F8_E4M3));
}

/* ---- Integers ---- */

/* A column of words, of which each group has one. */
static unsigned packed_zero(const struct quant_panels *p, size_t row, size_t g) {
    const size_t n_groups = quant_groups(p->n_in, p->group), word = row * p->bits / 32;
    const unsigned shift = (unsigned)(row * p->bits % 32);
    uint32_t v = quant_word(p->zeros, word * n_groups + g) >> shift;
    if (shift + p->bits > 32)
        v |= quant_word(p->zeros, (word + 1) * n_groups + g) << (32 - shift);
    return v & ((1u << p->bits) - 1);
}

static unsigned spaced_zero(const struct quant_panels *p, size_t row, size_t g) {
    const size_t each = 32 / p->bits, n_groups = quant_groups(p->n_in, p->group);
    return quant_word(p->zeros, row / each * n_groups + g) >> row % each * p->bits &
           ((1u << p->bits) - 1);
}

/* The width of a code from the number of words of a row. 0: no width has that number. *spaced and
 * *either: whether words have gaps, or may have: until version 0.17, codes of 3, 5, 6 and 7 bits
 * never spanned two words. */
static unsigned bits_of(const struct spec_quant *q, const struct tensor *t, size_t n_in,
                        bool *spaced, bool *either) {
    for (size_t i = 0; i < q->n_args + 9 && t->n_dims == 2; i++) {
        const int32_t bits = i < q->n_args ? q->args[i].bits : (int32_t)(i - q->n_args);
        if (bits < 2 || bits > 8)
            continue;
        const size_t each = 32 / (size_t)bits, gaps = quant_groups(n_in, each),
                     none = quant_groups(n_in * (size_t)bits, 32);
        *spaced = t->shape[1] != none;
        *either = gaps == none && n_in > each && 32 % (size_t)bits != 0;
        if (!*spaced || t->shape[1] == gaps)
            return (unsigned)bits;
    }
    return 0;
}

/* The scales of a module, and how many inputs have one. */
static const struct tensor *scales_of(const struct quant_module *w, struct quant_grid *grid,
                                      size_t *group, struct err *e) {
    const struct tensor *t = mat_source_find(w->s, w->name, ".weight_scale");
    if (!t) {
        err_set(e, EXIT_DATA, "tensor '%s.weight_scale' is missing", w->name);
        return NULL;
    }
    const size_t n_groups =
        t->n_dims == 2 && t->shape[0] == w->n_out && t->shape[1] > 0 ? (size_t)t->shape[1] : 1;
    *group = quant_group(w->s->config, w->n_in, n_groups);
    if (*group == 0) {
        err_set(e, EXIT_DATA, "tensor '%s': %zu inputs cannot have %zu groups", t->name, w->n_in,
                n_groups);
        return NULL;
    }
    return quant_grid_of(t, w->n_out, n_groups, grid, e) ? t : NULL;
}

/* Whether all modules that are quantised have zero points. */
static bool needs_zeros(const struct spec_quant *q) {
    bool needed = q->n_args > 0;
    for (size_t i = 0; i < q->n_args; i++)
        needed &= !q->args[i].sym && !q->args[i].is_float;
    return needed;
}

static int check_shape(const struct quant_module *w, struct err *e) {
    const struct tensor *t = mat_source_find(w->s, w->name, ".weight_shape");
    if (!t)
        return 0;
    const bool whole = t->dtype == DT_I64 || t->dtype == DT_I32;
    if (!whole || t->n_dims != 1 || t->shape[0] != 2 ||
        dtype_value(t->dtype, t->data, 0) != (double)w->n_out ||
        dtype_value(t->dtype, t->data, 1) != (double)w->n_in)
        return err_set(e, EXIT_DATA, "tensor '%s': expected the numbers %zu and %zu", t->name,
                       w->n_out, w->n_in);
    return 0;
}

/* The order of the inputs from weight_g_idx; all -1: they are in order. */
static int take_order(const struct quant_module *w, struct quant_panels *p, struct err *e) {
    if (!mat_source_peek(w->s, w->name, ".weight_g_idx"))
        return 0;
    const struct tensor *t =
        mat_source_typed(w->s, w->name, ".weight_g_idx", DT_I32, w->n_in, 0, e);
    bool none = t != NULL;
    for (size_t k = 0; k < w->n_in && none; k++)
        none = quant_word(t->data, k) == UINT32_MAX;
    if (!t || none)
        return t ? 0 : -1;
    return quant_order(w, t, p->group, quant_groups(p->n_in, p->group), &p->order, e);
}

static int take_zeros(const struct quant_module *w, struct quant_panels *p, bool spaced,
                      struct err *e) {
    const size_t words =
        spaced ? quant_groups(w->n_out, 32 / p->bits) : quant_groups(w->n_out * p->bits, 32);
    p->zero = 1 << (p->bits - 1);
    if (!mat_source_peek(w->s, w->name, ".weight_zero_point") && !needs_zeros(w->s->config))
        return 0;
    const struct tensor *t = mat_source_typed(w->s, w->name, ".weight_zero_point", DT_I32, words,
                                              quant_groups(p->n_in, p->group), e);
    if (!t)
        return -1;
    p->zeros = t->data;
    p->zero_of = spaced ? spaced_zero : packed_zero;
    return 0;
}

static int open_packed(const struct quant_module *w, const struct tensor *t, struct mat *m,
                       struct err *e) {
    char found[200];
    bool spaced = false, either = false;
    const unsigned bits = bits_of(w->s->config, t, w->n_in, &spaced, &either);
    struct quant_panels p = {.layout = bits > 4 ? MAT_G8 : MAT_G4,
                             .n_out = w->n_out,
                             .n_in = w->n_in,
                             .codes = spaced ? quant_spaced_codes : quant_stream_codes,
                             .data = t->data,
                             .bits = bits};
    if (bits == 0 || t->shape[0] != w->n_out)
        return err_set(e, EXIT_DATA, "tensor '%s': expected codes of [%zu, %zu], found %s", t->name,
                       w->n_out, w->n_in, tensor_shape_text(t, found));
    if (either)
        return err_set(e, EXIT_DATA,
                       "tensor '%s': its shape does not show how codes of %u bits are packed",
                       t->name, bits);
    p.stride = (size_t)t->shape[1];
    if (!scales_of(w, &p.scales, &p.group, e) || check_shape(w, e) != 0 ||
        quant_check(w, bits, p.group, e) != 0 || take_zeros(w, &p, spaced, e) != 0 ||
        take_order(w, &p, e) != 0)
        return -1;
    return quant_repack(w->s, &p, m, e);
}

static int open_i8(const struct quant_module *w, struct mat *m, struct err *e) {
    const struct tensor *codes =
                            mat_source_typed(w->s, w->name, ".weight", DT_I8, w->n_out, w->n_in, e),
                        *zeros = mat_source_find(w->s, w->name, ".weight_zero_point");
    struct quant_grid grid;
    size_t group;
    const struct tensor *scales = codes ? scales_of(w, &grid, &group, e) : NULL;
    if (!scales || quant_check(w, 8, group, e) != 0)
        return -1;
    if (!zeros && needs_zeros(w->s->config))
        return err_set(e, EXIT_DATA, "tensor '%s.weight_zero_point' is missing", w->name);
    if (zeros && (zeros->dtype != DT_I8 || zeros->n_elements != scales->n_elements))
        return err_set(e, EXIT_DATA, "tensor '%s': expected I8 of the shape of '%s'", zeros->name,
                       scales->name);
    return quant_open_i8(w, codes, zeros, &grid, group, 1, m, e);
}

/* ---- Floats ---- */

static int open_e2m1(const struct quant_module *w, struct mat *m, struct err *e) {
    const struct tensor *codes = mat_source_typed(w->s, w->name, ".weight_packed", DT_U8, w->n_out,
                                                  quant_groups(w->n_in, 2), e),
                        *global = mat_source_find(w->s, w->name, ".weight_global_scale");
    const size_t group = global ? NVFP4_GROUP : MX_GROUP;
    const struct tensor *scales = codes
                                      ? mat_source_shaped(w->s, w->name, ".weight_scale", w->n_out,
                                                          quant_groups(w->n_in, group), e)
                                      : NULL;
    float factor = 1;
    if (!scales || check_shape(w, e) != 0 || quant_check(w, 4, group, e) != 0)
        return -1;
    if (global && (global->dtype != DT_F32 || global->n_elements != 1 || global->n_dims > 1))
        return err_set(e, EXIT_DATA, "tensor '%s': expected F32 [1]", global->name);
    if (global)
        factor = 1 / (float)dtype_value(DT_F32, global->data, 0);
    const bool e8m0 = scales->dtype == DT_U8 || scales->dtype == DT_F8_E8M0;
    if (global ? scales->dtype != DT_F8_E4M3 : !e8m0)
        return err_set(e, EXIT_DATA, "tensor '%s': expected %s, found %s", scales->name,
                       global ? "F8_E4M3" : "U8, or a weight_global_scale",
                       dtype_name(scales->dtype));
    const struct quant_grid grid = {scales->data, global ? DT_F8_E4M3 : DT_F8_E8M0,
                                    quant_groups(w->n_in, group), 1};
    return quant_open_e2m1(w, codes, &grid, group, factor, m, e);
}

/* FP8: the shape of the scales shows the blocks. MXFP8 has scales of U8, of 32 inputs each. */
static int open_f8(const struct quant_module *w, struct mat *m, struct err *e) {
    const struct tensor *codes = mat_source_typed(w->s, w->name, ".weight", DT_F8_E4M3, w->n_out,
                                                  w->n_in, e),
                        *scales = mat_source_find(w->s, w->name, ".weight_scale");
    size_t block[2] = {0, 0};
    struct quant_grid grid;
    if (!codes)
        return -1;
    if (!scales)
        return err_set(e, EXIT_DATA, "tensor '%s.weight_scale' is missing", w->name);
    const bool u8 = scales->dtype == DT_U8;
    if (scales->n_dims == 2 && scales->shape[0] > 0 && scales->shape[1] > 1) {
        block[0] = quant_group(NULL, w->n_out, (size_t)scales->shape[0]);
        block[1] = u8 ? MX_GROUP : quant_group(NULL, w->n_in, (size_t)scales->shape[1]);
        if (block[0] == 0 || block[1] == 0)
            block[0] = block[1] = 1; // which the shape does not fit
    } else if (!quant_grid_of(scales, w->n_out, 1, &grid, e)) {
        return -1;
    }
    if (quant_check(w, 8, block[1] > 0 ? block[1] : w->n_in, e) != 0)
        return -1;
    return quant_open_f8(w, codes, scales, u8 ? DT_F8_E8M0 : scales->dtype, block, m, e);
}

static int compressed_open(const struct mat_source *s, const char *module, size_t n_out,
                           size_t n_in, struct mat *m, struct err *e) {
    const struct quant_module w = {s, module, n_out, n_in};
    const struct tensor *packed = mat_source_peek(s, module, ".weight_packed"),
                        *codes = mat_source_peek(s, module, ".weight");
    if (quant_skip(&w, e) != 0)
        return -1;
    if (packed && packed->dtype == DT_I32)
        return open_packed(&w, mat_source_find(s, module, ".weight_packed"), m, e);
    if (packed)
        return open_e2m1(&w, m, e);
    return codes->dtype == DT_I8 ? open_i8(&w, m, e) : open_f8(&w, m, e);
}

const struct mat_format mat_compressed_format = {"compressed-tensors", compressed_claims,
                                                 compressed_open};
