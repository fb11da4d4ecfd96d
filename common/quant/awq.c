/* AWQ (version gemm), and AutoRound's files of that form: 4-bit codes, packed along the outputs.
 *
 *     MODULE.qweight I32 [n_in, n_out / 8]
 *     MODULE.qzeros  I32 [n_groups, n_out / 8]
 *     MODULE.scales  F16, BF16 or F32 [n_groups, n_out]
 *
 * W = (code - zero) * scale. The eight outputs of a word are interleaved: half byte i holds output
 * 0, 2, 4, 6, 1, 3, 5, 7. Source: autoawq modules/linear/gemm.py, utils/packing_utils.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/panels.h"

static bool awq_claims(const struct mat_source *s, const char *module) {
    return s->config && s->config->store == QUANT_AWQ && mat_source_peek(s, module, ".qweight");
}

/* Output o of line `line`, of an array [lines, stride] of words. */
static unsigned awq_field(const unsigned char *words, size_t stride, size_t line, size_t o) {
    static const uint8_t place[8] = {0, 4, 1, 5, 2, 6, 3, 7};
    return quant_word(words, line * stride + o / 8) >> 4 * place[o % 8] & 15;
}

static void awq_codes(const struct quant_panels *p, size_t row, size_t n, uint8_t *to) {
    for (size_t k = 0; k < p->n_in; k++)
        for (size_t r = 0; r < n; r++)
            to[r * p->n_in + k] = (uint8_t)awq_field(p->data, p->stride, k, row + r);
}

static unsigned awq_zero(const struct quant_panels *p, size_t row, size_t g) {
    return awq_field(p->zeros, p->stride, g, row);
}

static int awq_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                    struct mat *m, struct err *e) {
    const struct quant_module w = {s, module, n_out, n_in};
    const size_t words = quant_groups(n_out, 8);
    size_t n_groups, group;
    const struct tensor *codes = mat_source_typed(s, module, ".qweight", DT_I32, n_in, words, e),
                        *scales = codes ? quant_group_scales(&w, &n_groups, &group, e) : NULL,
                        *zeros = scales ? mat_source_typed(s, module, ".qzeros", DT_I32, n_groups,
                                                           words, e)
                                        : NULL;
    if (!zeros || quant_skip(&w, e) != 0 || quant_check(&w, 4, group, e) != 0)
        return -1;
    const struct quant_panels p = {.layout = MAT_G4,
                                   .n_out = n_out,
                                   .n_in = n_in,
                                   .group = group,
                                   .codes = awq_codes,
                                   .zero_of = awq_zero,
                                   .data = codes->data,
                                   .zeros = zeros->data,
                                   .stride = words,
                                   .scales = {scales->data, scales->dtype, 1, n_out}};
    return quant_repack(s, &p, m, e);
}

const struct mat_format mat_awq_format = {"awq", awq_claims, awq_open};
