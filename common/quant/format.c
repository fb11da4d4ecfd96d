/* The list of matrix formats, and the choice among them: see format.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "quant/format.h"

const struct mat_format *const mat_formats[] = {
    &mat_tokpipe_format,
    &mat_plain_format,
    NULL,
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

int mat_open(const struct mat_source *s, const char *module, size_t n_out, size_t n_in,
             struct mat *m, struct err *e) {
    const struct mat_format *format = mat_format_of(s, module);
    for (const struct mat_format *const *f = formats_of(s); !format && *f; f++)
        if (!f[1])
            format = *f;
    return format->open(s, module, n_out, n_in, m, e);
}
