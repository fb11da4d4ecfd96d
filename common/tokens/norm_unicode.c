/* NFC, NFD, NFKC, NFKD: Unicode's normal forms (UAX 15).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include <utf8proc.h>

#include "tokens/norm.h"


static int apply_form(struct text *t, int form) {
    bool ascii = true;
    for (size_t i = 0; i < t->now.n && ascii; i++)
        ascii = (unsigned char)t->now.p[i] < 0x80;
    if (ascii)
        return 0;
    utf8proc_uint8_t *out = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)t->now.p, (utf8proc_ssize_t)t->now.n, &out,
                                      (utf8proc_option_t)form);
    if (n < 0)
        return 0;
    struct rewrite w = rewrite_begin(t);
    rewrite_replace(&w, t->now.n, (char *)out, (size_t)n);
    rewrite_end(&w);
    free(out);
    return 0;
}

static int apply_nfc(const void *data, struct text *t, struct err *e) {
    (void)data;
    (void)e;
    return apply_form(t, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
}

const struct norm_kind norm_nfc = {"NFC", NULL, NULL, apply_nfc};
