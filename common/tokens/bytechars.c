/* The byte alphabet: see bytechars.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/bytechars.h"

#include "base/utf8.h"
#include "unicode/unicode.h"

long bytechars_decode(struct str s, char *out) {
    size_t n = 0;
    for (size_t i = 0, len; i < s.n; i += len) {
        int byte = bytechar_byte(uni_next(s.p + i, &len));
        if (byte < 0)
            return -1;
        out[n++] = (char)byte;
    }
    return (long)n;
}

void bytechars_spell(struct tok_text *t) {
    const char *p = t->now.p;
    size_t n = t->now.n;
    struct text_rewrite w = text_rewrite_begin(t);
    for (size_t i = 0; i < n; i++) {
        char c[4];
        size_t len = utf8_encode(bytechar((unsigned char)p[i]), c);
        if (uni_inside(p[i]))
            text_rewrite_insert(&w, c, len);
        else
            text_rewrite_replace(&w, uni_len(p[i]), c, len);
    }
    text_rewrite_end(&w);
}
