/* The list of matrix formats, and the choice among them: see format.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/format.h"

#include <string.h>

const struct mat_format *const mat_formats[] = {
    &mat_tokpipe_format, &mat_kept_format,    &mat_compressed_format, &mat_gptq_format,
    &mat_awq_format,     &mat_fp8_format,     &mat_modelopt_format,   &mat_mlx_format,
    &mat_bnb_format,     &mat_unknown_format, &mat_plain_format,      NULL,
};

static const struct mat_format *const *formats_of(const struct mat_source *s) {
    return s->formats ? s->formats : mat_formats;
}

const struct mat_format *mat_format_of(const struct mat_source *s, const char *module) {
    const struct mat_format *const *f = formats_of(s);
    while (*f && !(*f)->claims(s, module))
        f++;
    return *f;
}

/* Counts a quantised matrix that has been opened; copied: bytes of its copies. */
static void report(const struct mat_source *s, const struct mat_format *f, const struct mat *m,
                   uint64_t copied) {
    struct mat_report *r = s->report;
    const struct mat_quant *q = m->quant;
    const char *format = f->name;
    const bool ours = !q, // tokpipe's own panels have their scales
        mapped = ours || m->layout == MAT_F8 || m->layout == MAT_NF4 || f == &mat_kept_format,
               whole = ours || (m->layout != MAT_NF4 && q->n_groups == 1);
    const size_t group = ours ? 0 : q->group;
    size_t i = 0;
    while (i < r->n &&
           (strcmp(r->lines[i].format, format) != 0 || r->lines[i].layout != m->layout ||
            r->lines[i].whole != whole || (!whole && r->lines[i].group != group)))
        i++;
    if (i == MAT_REPORT_LINES)
        return;
    if (i == r->n)
        r->lines[r->n++] = (struct mat_report_line){
            .format = format, .layout = m->layout, .group = group, .whole = whole};
    r->lines[i].n++;
    r->lines[i].mapped += mapped ? mat_bytes(m) : 0;
    r->lines[i].copied += copied;
}

/* Whether the module is one that quantization_config names as not quantised. */
static bool is_plain(const struct mat_source *s, const char *module) {
    const struct spec_quant *q = s->config;
    for (size_t i = 0; q && i < q->n_plain; i++)
        if (strcmp(q->plain[i], module) == 0)
            return true;
    return false;
}

/* What holds for every quantised matrix, before it is opened. */
static int check_quantised(const struct mat_source *s, const struct mat_format *format,
                           const char *module, size_t n_in, struct err *e) {
    if (n_in > MAT_QUANT_IN)
        return err_set(e, EXIT_DATA,
                       "module '%s' has %zu inputs, but at most %d are supported in format %s",
                       module, n_in, (int)MAT_QUANT_IN, format->name);
    if (s->transposed && format != &mat_gptq_format && format != &mat_tokpipe_format)
        return err_set(e, EXIT_DATA, "module '%s': GPT-2's matrices are not supported in format %s",
                       module, format->name);
    if (is_plain(s, module))
        return err_set(e, EXIT_DATA,
                       "module '%s' is quantised (%s), but quantization_config says that it is not",
                       module, format->name);
    return 0;
}

int mat_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
             struct mat *m, struct err *e) {
    const struct mat_format *format = mat_format_of(s, module);
    for (const struct mat_format *const *f = formats_of(s); !format && *f; f++)
        if (!f[1])
            format = *f;
    if (!s->formats && format != &mat_plain_format && format != &mat_unknown_format &&
        check_quantised(s, format, module, n_in, e) != 0)
        return -1;
    uint64_t before = s->memory->bytes;
    if (format->open(s, module, n_out, n_in, m, e) != 0)
        return -1;
    if (format != &mat_plain_format && s->report)
        report(s, format, m, s->memory->bytes - before);
    return 0;
}
