/* Strip and StripAccents.
 *
 * Strip removes white space from the beginning of the text, from its end or from both. StripAccents
 * drops the combining marks of Unicode 9.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/norm.h"
#include "tokens/norm_chars.h"
#include "unicode/unicode.h"

struct strip {
    bool left, right;
};

static void *load(struct json *j) {
    struct strip *s = xcalloc(1, sizeof *s);
    struct str key;
    bool left = false, right = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "strip_left")) {
            s->left = json_bool(j);
            left = true;
        } else if (str_eq(key, "strip_right")) {
            s->right = json_bool(j);
            right = true;
        } else {
            json_skip(j);
        }
    component_need(j, left, "Strip", "strip_left");
    component_need(j, right, "Strip", "strip_right");
    return s;
}

static int apply(const void *data, struct tok_text *t, struct err *e) {
    const struct strip *s = data;
    (void)e;
    const char *p = t->now.p;
    size_t from = 0, to = t->now.n, len;
    while (s->left && from < to && uni_bits(uni_next(p + from, &len)) & UNI_SPACE)
        from += len;
    while (s->right && to > from && uni_bits(uni_next(p + uni_before(p, to), &len)) & UNI_SPACE)
        to -= len;
    if (from == 0 && to == t->now.n)
        return 0;
    struct text_rewrite w = text_rewrite_begin(t);
    text_rewrite_drop(&w, from);
    text_rewrite_copy(&w, to - from);
    text_rewrite_end(&w);
    return 0;
}

static int apply_accents(const void *data, struct tok_text *t, struct err *e) {
    (void)data, (void)e;
    norm_drop(t, UNI_ACCENT);
    return 0;
}

const struct tok_norm_kind norm_strip = {"Strip", load, free, apply};
const struct tok_norm_kind norm_strip_accents = {"StripAccents", NULL, NULL, apply_accents};
