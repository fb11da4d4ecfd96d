/* Replace: every match of a string or a regular expression becomes a fixed text.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/norm.h"
#include "tokens/replace.h"

static void *load(struct json *j) {
    return replace_load(j);
}

static void unload(void *data) {
    replace_free(data);
}

static int apply(const void *data, struct tok_text *t, struct err *e) {
    const struct replace *r = data;
    struct str text = {t->now.p, t->now.n};
    struct regex_iter it = regex_begin(r->pattern, t->regex, text);
    size_t start, end;
    int found = text.n ? regex_next(&it, &start, &end, e) : 0;
    if (found <= 0)
        return found;
    struct text_rewrite w = text_rewrite_begin(t);
    for (; found > 0 && !t->too_long; found = regex_next(&it, &start, &end, e)) {
        text_rewrite_copy(&w, start - w.at);
        text_rewrite_drop(&w, end - start);
        text_rewrite_insert(&w, r->content.p, r->content.n);
    }
    text_rewrite_copy(&w, text.n - w.at);
    text_rewrite_end(&w);
    return found < 0 ? -1 : 0;
}

const struct tok_norm_kind norm_replace = {"Replace", load, unload, apply};
