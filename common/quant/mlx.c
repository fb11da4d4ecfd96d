/* MLX, affine: codes of 2 to 8 bits, packed along the inputs. Embeddings may be quantised, too.
 *
 *     MODULE.weight U32 [n_out, n_in * bits / 32]    a row is a stream of codes
 *     MODULE.scales, MODULE.biases F32, F16 or BF16 [n_out, n_groups]
 *
 * W = code * scale + bias. A stack of experts has one more dimension in front: then only one
 * expert's part is opened. Source: mlx/nn/layers/quantized.py, mlx/backend/cpu/quantized.cpp.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/panels.h"

static bool mlx_claims(const struct mat_source *s, const char *module) {
    const struct tensor *t = mat_source_peek(s, module, ".weight");
    return s->config && s->config->store == QUANT_MLX && t && t->dtype == DT_U32 &&
           mat_source_peek(s, module, ".scales");
}

/* The module's tensor [n_out, n], or its part of a stack [n_stack, n_out, n]: *data. n 0: as the
 * tensor says. NULL: e is set. */
static const struct tensor *part_of(const struct quant_module *w, const char *ending, size_t n,
                                    const unsigned char **data, struct err *e) {
    const struct mat_source *s = w->s;
    const struct tensor *t = mat_source_find(s, w->name, ending);
    const size_t dims = s->n_stack > 0 ? 3 : 2,
                 own = t && t->n_dims == dims ? (size_t)t->shape[dims - 1] : n;
    char found[200], stack[40] = "";
    if (s->n_stack > 0)
        snprintf(stack, sizeof stack, "%zu, ", s->n_stack);
    n = n > 0 ? n : own;
    if (!t) {
        err_set(e, EXIT_DATA, "tensor '%s%s' is missing", w->name, ending);
        return NULL;
    }
    if (t->n_dims != dims || own != n || t->shape[dims - 2] != w->n_out ||
        (s->n_stack > 0 && t->shape[0] != s->n_stack)) {
        err_set(e, EXIT_DATA, "tensor '%s': expected [%s%zu, %zu], found %s", t->name, stack,
                w->n_out, n, tensor_shape_text(t, found));
        return NULL;
    }
    const size_t one = (size_t)t->n_bytes / (s->n_stack > 0 ? s->n_stack : 1);
    *data = (const unsigned char *)t->data + s->stack * one;
    return t;
}

static int mlx_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                    struct mat *m, struct err *e) {
    const struct quant_module w = {s, module, n_out, n_in};
    const unsigned char *data, *scale_data, *bias_data;
    const struct tensor *codes = part_of(&w, ".weight", 0, &data, e),
                        *scales = codes ? part_of(&w, ".scales", 0, &scale_data, e) : NULL;
    enum mat_layout layout;
    if (!scales)
        return -1;
    const size_t words = (size_t)codes->shape[codes->n_dims - 1],
                 n_groups = (size_t)scales->shape[scales->n_dims - 1],
                 bits = words < n_in ? words * 32 / n_in : 0,
                 group = quant_group(s->config, n_in, n_groups);
    const struct tensor *biases = part_of(&w, ".biases", n_groups, &bias_data, e);
    if (!biases)
        return -1;
    if (bits < 2 || bits > 8 || bits * n_in != words * 32)
        return err_set(e, EXIT_DATA, "tensor '%s': %zu words do not hold %zu codes of 2 to 8 bits",
                       codes->name, words, n_in);
    if (!mat_layout_of(scales->dtype, &layout) || biases->dtype != scales->dtype)
        return err_set(e, EXIT_DATA,
                       "tensor '%s': expected F32, F16 or BF16, as the biases, found %s",
                       scales->name, dtype_name(scales->dtype));
    if (group == 0)
        return err_set(e, EXIT_DATA, "tensor '%s': %zu inputs cannot have %zu groups", scales->name,
                       n_in, n_groups);
    if (quant_check(&w, (unsigned)bits, group, e) != 0)
        return -1;
    const struct quant_panels p = {.layout = bits > 4 ? MAT_G8 : MAT_G4,
                                   .n_out = n_out,
                                   .n_in = n_in,
                                   .group = group,
                                   .codes = quant_stream_codes,
                                   .data = data,
                                   .bits = (unsigned)bits,
                                   .stride = words,
                                   .scales = {scale_data, scales->dtype, n_groups, 1},
                                   .biases = {bias_data, biases->dtype, n_groups, 1}};
    return quant_repack(s, &p, m, e);
}

const struct mat_format mat_mlx_format = {"mlx", mlx_claims, mlx_open};
