/* GPTQ, and AutoRound's files of that form: codes of 2, 3, 4 or 8 bits, packed along the inputs.
 *
 *     MODULE.qweight I32 [n_in * bits / 32, n_out]      a column is a stream of codes
 *     MODULE.qzeros  I32 [n_groups, n_out * bits / 32]  a row is a stream of zero points
 *     MODULE.scales  F16, BF16 or F32 [n_groups, n_out]
 *     MODULE.g_idx   I32 [n_in], the group of each input; may be missing
 *
 * W = (code - zero) * scale. The stored zero point is the zero point minus 1, except in the form
 * gptq_v2 and some of AutoRound's. Symmetric matrices have the zero point 2^(bits - 1), whatever is
 * stored: published files are labelled wrongly. Sources: AutoGPTQ qlinear_cuda.py, GPTQModel
 * nn_modules/qlinear, auto_round's qlinear_torch.py.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/panels.h"

static bool gptq_claims(const struct mat_source *s, const char *module) {
    return s->config && s->config->store == QUANT_GPTQ && mat_source_peek(s, module, ".qweight");
}

/* Words whose codes never span two of them. */
static void whole_words(const struct quant_panels *p, size_t row, size_t n, uint8_t *to) {
    const size_t each = 32 / p->bits;
    for (size_t k = 0, w = 0; k < p->n_in; k += each, w++)
        for (size_t r = 0; r < n; r++)
            quant_expand(quant_word(p->data, w * p->n_out + row + r), p->bits, to + r * p->n_in + k,
                         p->n_in - k < each ? p->n_in - k : each);
}

static void gptq_codes(const struct quant_panels *p, size_t row, size_t n, uint8_t *to) {
    const unsigned bits = p->bits;
    if (32 % bits == 0) {
        whole_words(p, row, n, to);
        return;
    }
    for (size_t k = 0; k < p->n_in; k++) {
        const size_t word = k * bits / 32;
        const unsigned shift = (unsigned)(k * bits % 32);
        for (size_t r = 0; r < n; r++) {
            uint32_t code = quant_word(p->data, word * p->n_out + row + r) >> shift;
            if (shift + bits > 32)
                code |= quant_word(p->data, (word + 1) * p->n_out + row + r) << (32 - shift);
            to[r * p->n_in + k] = (uint8_t)(code & ((1u << bits) - 1));
        }
    }
}

static unsigned gptq_zero(const struct quant_panels *p, size_t row, size_t g) {
    return quant_code(p->zeros + 4 * g * p->stride, row, p->bits) + (p->raw_zeros ? 0 : 1);
}

/* A symmetric matrix's zero points are not used. Others than either form stores are odd. */
static void warn_zeros(const struct mat_source *s, const struct quant_panels *p,
                       const struct tensor *zeros) {
    const unsigned half = 1u << (p->bits - 1);
    for (size_t g = 0; g < quant_groups(p->n_in, p->group); g++)
        for (size_t o = 0; o < p->n_out; o++) {
            const unsigned field = quant_code(p->zeros + 4 * g * p->stride, o, p->bits);
            if (field == half || field == half - 1 || !s->warnings || s->report->odd_zeros)
                continue;
            s->report->odd_zeros = true;
            buf_fmt(s->warnings,
                    "tensor '%s' has zero points that are not those of symmetric codes, as "
                    "quantization_config says; they are not used\n",
                    zeros->name);
            return;
        }
}

/* Bits of a code, from the shape of qweight; 0: none that is supported. */
static unsigned bits_of(const struct spec_quant *q, const struct tensor *t, size_t n_in) {
    static const unsigned all[] = {4, 8, 2, 3};
    const unsigned own = (unsigned)q->bits;
    for (size_t i = 0; i < 2 * sizeof all / sizeof *all; i++) {
        const unsigned bits = all[i / 2];
        if (t->n_dims == 2 && t->shape[0] == quant_groups(n_in * bits, 32) &&
            (bits == own || i % 2 == 1))
            return bits;
    }
    return own == 2 || own == 3 || own == 8 ? own : 4;
}

/* Fills in the zero points: none of the file's if all are the same. */
static int take_zeros(const struct quant_module *w, struct quant_panels *p, size_t n_groups,
                      struct err *e) {
    const struct spec_quant *q = w->s->config;
    p->zero = 1 << (p->bits - 1);
    p->stride = quant_groups(w->n_out * p->bits, 32);
    p->raw_zeros = q->raw_zeros;
    if (q->sym && !mat_source_peek(w->s, w->name, ".qzeros"))
        return 0;
    const struct tensor *t =
        mat_source_typed(w->s, w->name, ".qzeros", DT_I32, n_groups, p->stride, e);
    if (!t)
        return -1;
    p->zeros = t->data;
    if (q->sym)
        warn_zeros(w->s, p, t);
    else
        p->zero_of = gptq_zero;
    return 0;
}

static int gptq_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
                     struct mat *m, struct err *e) {
    const struct quant_module w = {s, module, n_out, n_in};
    const unsigned bits = bits_of(s->config, mat_source_peek(s, module, ".qweight"), n_in);
    const struct tensor *codes =
        mat_source_typed(s, module, ".qweight", DT_I32, quant_groups(n_in * bits, 32), n_out, e);
    size_t n_groups, group;
    const struct tensor *scales = codes ? quant_group_scales(&w, &n_groups, &group, e) : NULL;
    if (!scales || quant_skip(&w, e) != 0 || quant_check(&w, bits, group, e) != 0)
        return -1;
    struct quant_panels p = {.layout = bits > 4 ? MAT_G8 : MAT_G4,
                             .n_out = n_out,
                             .n_in = n_in,
                             .group = group,
                             .codes = gptq_codes,
                             .data = codes->data,
                             .bits = bits,
                             .scales = {scales->data, scales->dtype, 1, n_out}};
    if (take_zeros(&w, &p, n_groups, e) != 0)
        return -1;
    if (mat_source_peek(s, module, ".g_idx")) {
        const struct tensor *t = mat_source_typed(s, module, ".g_idx", DT_I32, n_in, 0, e);
        if (!t || quant_order(&w, t, group, n_groups, &p.order, e) != 0)
            return -1;
    } else if (s->config->desc_act && n_groups > 1) {
        return err_set(e, EXIT_DATA, "tensor '%s.g_idx' is missing: desc_act is true", module);
    }
    return quant_repack(s, &p, m, e);
}

const struct mat_format mat_gptq_format = {"gptq", gptq_claims, gptq_open};
