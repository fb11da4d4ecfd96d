/* The quantization_config of compressed-tensors: see config_quant.c.
 *
 * config_groups has a scheme for each group of modules: what their weights are, and how activations
 * are rounded. A scheme may also be a list of modules under the name of a preset; then nothing is
 * known of its weights that their tensors do not show.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <strings.h>

#include "spec/config_quant.h"

static const char *const formats[] = {"dense",
                                      "pack-quantized",
                                      "int-quantized",
                                      "float-quantized",
                                      "naive-quantized",
                                      "nvfp4-pack-quantized",
                                      "mxfp4-pack-quantized",
                                      "mxfp8-quantized",
                                      "mixed-precision",
                                      NULL};
static const char format_expected[] =
    "only pack-quantized, int-quantized, float-quantized, naive-quantized, nvfp4-pack-quantized, "
    "mxfp4-pack-quantized, mxfp8-quantized and mixed-precision are supported";

/* weights: {num_bits, type, symmetric, strategy, group_size}. */
static int read_weights(struct keys_reader *r, struct spec_quant *q, const struct keys_object *o,
                        bool *any) {
    static const char *const is_float[] = {"float", NULL}, *const groups[] = {"group",
                                                                              "tensor_group", NULL};
    const struct keys_member *m = keys_member_find(o, "weights");
    struct keys_object w = {0};
    if (!m || keys_member_false(m))
        return 0; // activations alone
    if (keys_read_object(r, m, &w) != 0)
        return -1;
    struct quant_args a = {.bits = quant_number(&w, 0, "num_bits", "num_bits"),
                           .group_size = quant_number(&w, 1, "group_size", "group_size"),
                           .sym =
                               !keys_member_find(&w, "symmetric") || quant_is_on(&w, "symmetric"),
                           .is_float = quant_is_text(&w, "type", is_float)};
    if (!quant_is_text(&w, "strategy", groups) && keys_member_find(&w, "strategy"))
        a.group_size = 0; // what the tensors show
    free(w.members);
    *any |= a.bits == 0;
    return quant_add_args(r, q, a, m);
}

/* {"dynamic": false, ...} of key: the file has the scales. true and "local" (NVFP4, whose blocks
 * have scales of their own): they are computed. Without the key they are static. */
static int check_activations(struct keys_reader *r, struct spec_quant *q,
                             const struct keys_object *o, const char *key) {
    const struct keys_member *m = keys_member_find(o, key);
    struct keys_object a = {0};
    if (!m || m->raw.p[0] != '{')
        return 0;
    if (keys_read_object(r, m, &a) != 0)
        return -1;
    const bool dynamic = quant_is_on(&a, "dynamic"),
               rounded = quant_number(&a, 1, "num_bits", "num_bits") < 16;
    free(a.members);
    q->dynamic |= dynamic;
    return !dynamic && rounded ? keys_refuse(r, m, quant_no_static) : 0;
}

static int read_group(struct keys_reader *r, struct spec_quant *q, const struct keys_member *m,
                      bool *any) {
    struct keys_object g = {0};
    if (m->raw.p[0] != '{') {
        *any = true; // a preset
        return m->key.n == 3 && strncasecmp(m->key.p, "FP8", 3) == 0
                   ? keys_refuse(r, m, quant_no_static)
                   : 0;
    }
    int rc = keys_read_object(r, m, &g);
    if (rc == 0)
        rc = quant_only(r, &g, "format", formats, format_expected);
    if (rc == 0)
        rc = read_weights(r, q, &g, any);
    if (rc == 0)
        rc = check_activations(r, q, &g, "input_activations");
    if (rc == 0)
        rc = check_activations(r, q, &g, "output_activations");
    free(g.members);
    return rc;
}

/* Sparse files store other tensors; {"format": "dense"} says that there is none of it. */
static int check_sparsity(struct keys_reader *r, const struct keys_object *o) {
    static const char *const dense[] = {"dense", NULL};
    const struct keys_member *m = keys_member_find(o, "sparsity_config");
    struct keys_object s = {0};
    if (!m || keys_member_false(m))
        return 0;
    int rc = keys_read_object(r, m, &s);
    if (rc == 0 && !quant_is_text(&s, "format", dense))
        rc = keys_refuse(r, m, "sparse weights are not supported");
    free(s.members);
    return rc;
}

int quant_read_compressed(struct keys_reader *r, struct spec *s, const struct keys_object *o) {
    static const char *const done[] = {"compressed", NULL};
    struct spec_quant *q = &s->quant;
    const struct keys_member *m = keys_member_find(o, "config_groups");
    struct keys_object groups = {0};
    bool any = false;
    q->store = QUANT_COMPRESSED;
    if (quant_only(r, o, "format", formats, format_expected) != 0 ||
        quant_only(r, o, "quantization_status", done, "only compressed is supported") != 0 ||
        quant_never(r, o, "transform_config", "transforms are not supported") != 0 ||
        check_sparsity(r, o) != 0)
        return -1;
    if (!m || keys_member_false(m))
        return 0;
    int rc = keys_read_object(r, m, &groups);
    for (size_t i = 0; i < groups.n && rc == 0; i++)
        rc = read_group(r, q, &groups.members[i], &any);
    free(groups.members);
    if (any)
        q->n_args = 0;
    return rc;
}
