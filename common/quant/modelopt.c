/* NVIDIA's ModelOpt: FP8 and NVFP4.
 *
 *     FP8    MODULE.weight         F8_E4M3 [n_out, n_in]
 *            MODULE.weight_scale   F32, one for all or one a row
 *     NVFP4  MODULE.weight         U8 [n_out, n_in / 2], E2M1
 *            MODULE.weight_scale   F8_E4M3 [n_out, n_in / 16]
 *            MODULE.weight_scale_2 F32, one for all
 *
 * All scales are multiplied. Every file has an input_scale, for engines that multiply in FP8 or
 * FP4. It is not applied: activations are not rounded here. Source: compressed_tensors
 * entrypoints/convert/converters/modelopt_nvfp4.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/panels.h"

enum { NVFP4_GROUP = 16 };

static bool modelopt_claims(const struct mat_source *s, const char *module) {
    const struct tensor *t = mat_source_peek(s, module, ".weight");
    return s->config && s->config->store == QUANT_MODELOPT && t &&
           (t->dtype == DT_F8_E4M3 || t->dtype == DT_U8);
}

static int open_f8(const struct quant_module *w, struct mat *m, struct err *e) {
    static const size_t no_block[2] = {0, 0};
    const struct tensor *codes = mat_source_typed(w->s, w->name, ".weight", DT_F8_E4M3, w->n_out,
                                                  w->n_in, e),
                        *scales = mat_source_find(w->s, w->name, ".weight_scale");
    if (!codes)
        return -1;
    if (!scales || scales->dtype != DT_F32)
        return err_set(e, EXIT_DATA, "tensor '%s.weight_scale': expected F32, found %s", w->name,
                       scales ? dtype_name(scales->dtype) : "none");
    return quant_open_f8(w, codes, scales, DT_F32, no_block, m, e);
}

static int open_nvfp4(const struct quant_module *w, struct mat *m, struct err *e) {
    const size_t n_groups = quant_groups(w->n_in, NVFP4_GROUP);
    const struct tensor *codes = mat_source_typed(w->s, w->name, ".weight", DT_U8, w->n_out,
                                                  quant_groups(w->n_in, 2), e),
                        *scales = codes ? mat_source_typed(w->s, w->name, ".weight_scale",
                                                           DT_F8_E4M3, w->n_out, n_groups, e)
                                        : NULL,
                        *all = mat_source_find(w->s, w->name, ".weight_scale_2");
    if (!scales)
        return -1;
    if (!all || all->dtype != DT_F32 || all->n_elements != 1)
        return err_set(e, EXIT_DATA, "tensor '%s.weight_scale_2': expected one F32, found %s",
                       w->name,
                       !all                   ? "none"
                       : all->dtype != DT_F32 ? dtype_name(all->dtype)
                                              : "several");
    const struct quant_grid grid = {scales->data, DT_F8_E4M3, n_groups, 1};
    const float factor = (float)dtype_value(DT_F32, all->data, 0);
    return quant_open_e2m1(w, codes, &grid, NVFP4_GROUP, factor, m, e);
}

static int modelopt_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                         struct mat *m, struct err *e) {
    const struct quant_module w = {s, module, n_out, n_in};
    if (quant_skip(&w, e) != 0)
        return -1;
    return mat_source_peek(s, module, ".weight")->dtype == DT_U8 ? open_nvfp4(&w, m, e)
                                                                 : open_f8(&w, m, e);
}

const struct mat_format mat_modelopt_format = {"modelopt", modelopt_claims, modelopt_open};
