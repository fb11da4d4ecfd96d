/* Modules whose tensors are those of a format that quantization_config does not name, or that no
 * file here reads. They are refused by the tensor's name, rather than as a missing MODULE.weight.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/format.h"

static const struct {
    const char *ending, *meaning;
} known[] = {
    {".qweight", "of quant_method gptq, awq or auto-round"},
    {".weight_packed", "of quant_method compressed-tensors"},
    {".weight.absmax", "of quant_method bitsandbytes"},
    {".SCB", "of quant_method bitsandbytes"},
    {".weight_scale_inv", "of quant_method fp8"},
    {".weight_scale_2", "of quant_method modelopt"},
    {".weight_scale", "of quant_method compressed-tensors, modelopt or fbgemm_fp8"},
    {".W_q", "of HQQ, which is not supported"},
    {"._weight_qdata", "of torchao, which is not supported"},
    {".B", "of the marlin format, which is not supported"},
    {".compressed", "of a sparse format, which is not supported"},
    {".bitmask", "of a sparse format, which is not supported"},
    {".weight_blocks", "of quant_method mxfp4, which is not supported"},
};
enum { N_KNOWN = sizeof known / sizeof *known };

/* The ending of `known` that the module has; N_KNOWN if it has none. */
static size_t ending_of(const struct mat_source *s, const char *module) {
    size_t i = 0;
    while (i < N_KNOWN && !mat_source_peek(s, module, known[i].ending))
        i++;
    return i;
}

static bool unknown_claims(const struct mat_source *s, const char *module) {
    const struct tensor *t = mat_source_peek(s, module, ".weight");
    enum mat_layout layout;
    return !(t && mat_layout_of(t->dtype, &layout)) && ending_of(s, module) < N_KNOWN;
}

static int unknown_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                        struct mat *m, struct err *e) {
    const size_t i = ending_of(s, module);
    (void)m;
    return err_set(e, EXIT_DATA,
                   "tensor '%s%s' is %s; expected '%s.weight' [%zu, %zu], because "
                   "quantization_config %s%s",
                   module, known[i].ending, known[i].meaning, module, n_out, n_in,
                   s->config ? "is of " : "is missing", s->config ? s->config->method : "");
}

const struct mat_format mat_unknown_format = {"unknown", unknown_claims, unknown_open};
