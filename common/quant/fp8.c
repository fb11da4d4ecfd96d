/* The methods fp8 and fbgemm_fp8: E4M3 in blocks, read from the mapping.
 *
 *     MODULE.weight           F8_E4M3 [n_out, n_in]
 *     MODULE.weight_scale_inv F32, BF16, F16 or E8M0 [n_out / rows, n_in / inputs of a block]
 *
 * W = code * scale: the scale is multiplied in spite of its name. quantization_config has the
 * blocks' size (weight_block_size); without it there is one scale for all, or one a row.
 * fbgemm_fp8 calls the scales weight_scale. Sources: transformers integrations/finegrained_fp8.py
 * and fbgemm_fp8.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/panels.h"

static bool fp8_claims(const struct mat_source *s, const char *module) {
    const struct tensor *t = mat_source_peek(s, module, ".weight");
    return s->config && s->config->store == QUANT_FP8 && t && t->dtype == DT_F8_E4M3;
}

static int fp8_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                    struct mat *m, struct err *e) {
    const struct quant_module w = {s, module, n_out, n_in};
    const struct tensor *codes = mat_source_typed(s, module, ".weight", DT_F8_E4M3, n_out, n_in, e),
                        *scales = mat_source_find(s, module, ".weight_scale_inv");
    scales = scales ? scales : mat_source_find(s, module, ".weight_scale");
    if (!codes || quant_skip(&w, e) != 0)
        return -1;
    if (!scales)
        return err_set(e, EXIT_DATA, "tensor '%s.weight_scale_inv' is missing", module);
    enum mat_layout layout;
    if (scales->dtype != DT_F8_E8M0 && !mat_layout_of(scales->dtype, &layout))
        return err_set(e, EXIT_DATA, "tensor '%s': expected F32, F16, BF16 or F8_E8M0, found %s",
                       scales->name, dtype_name(scales->dtype));
    return quant_open_f8(&w, codes, scales, scales->dtype, s->config->block, m, e);
}

const struct mat_format mat_fp8_format = {"fp8", fp8_claims, fp8_open};
