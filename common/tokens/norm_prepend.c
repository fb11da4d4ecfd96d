/* Prepend: puts a fixed text before any text that is not empty. Llama tokenizers put
 * SentencePiece's "▁" there: "Hi" becomes "▁Hi".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/norm.h"
#include "unicode/unicode.h"

static void *load(struct json *j) {
    struct buf *prefix = xcalloc(1, sizeof *prefix);
    struct str key;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "prepend")) {
            struct str s = json_str(j);
            buf_clear(prefix);
            buf_add(prefix, s.p, s.n);
            found = true;
        } else {
            json_skip(j);
        }
    component_need(j, found, "Prepend", "prepend");
    return prefix;
}

static void unload(void *data) {
    buf_free(data);
    free(data);
}

static int apply(const void *data, struct tok_text *t, struct err *e) {
    const struct buf *prefix = data;
    (void)e;
    if (t->now.n == 0 || prefix->n == 0)
        return 0;
    // The prefix gets the first character's origin: it replaces that character, which is then
    // inserted again.
    struct text_rewrite w = text_rewrite_begin(t);
    size_t len = uni_len(t->now.p[0]);
    const char *first = t->now.p;
    text_rewrite_replace(&w, len, prefix->p, prefix->n);
    text_rewrite_insert(&w, first, len);
    text_rewrite_copy(&w, t->now.n - len);
    text_rewrite_end(&w);
    return 0;
}

const struct tok_norm_kind norm_prepend = {"Prepend", load, unload, apply};
