/* BertNormalizer: up to four steps in this order, each a member of the object.
 *
 * clean_text drops control characters and turns other white space into spaces. handle_chinese_chars
 * puts spaces around CJK ideographs. strip_accents decomposes (NFD) and drops accents; null means
 * the same as lowercase. lowercase lowers letters: "Ärger" becomes "arger".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/norm.h"
#include "tokens/norm_chars.h"
#include "unicode/unicode.h"

struct bert {
    bool clean_text, cjk, accents, lowercase;
};

static void *load(struct json *j) {
    struct bert *b = xcalloc(1, sizeof *b);
    struct str key;
    bool clean = false, cjk = false, lower = false, as_lower = true;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "clean_text")) {
            b->clean_text = json_bool(j);
            clean = true;
        } else if (str_eq(key, "handle_chinese_chars")) {
            b->cjk = json_bool(j);
            cjk = true;
        } else if (str_eq(key, "strip_accents") && json_peek(j) != JSON_NULL) {
            b->accents = json_bool(j);
            as_lower = false;
        } else if (str_eq(key, "lowercase")) {
            b->lowercase = json_bool(j);
            lower = true;
        } else {
            json_skip(j);
        }
    component_need(j, clean, "BertNormalizer", "clean_text");
    component_need(j, cjk, "BertNormalizer", "handle_chinese_chars");
    component_need(j, lower, "BertNormalizer", "lowercase");
    if (as_lower)
        b->accents = b->lowercase;
    return b;
}

static int clean(uint32_t cp, char *out) {
    unsigned bits = uni_bits(cp);
    if (bits & UNI_CONTROL)
        return 0;
    out[0] = ' ';
    return bits & UNI_SPACE && cp != ' ' ? 1 : CHAR_KEEP;
}

static void space_cjk(struct tok_text *t) {
    const char *p = t->now.p;
    size_t n = t->now.n, len;
    struct text_rewrite w = text_rewrite_begin(t);
    bool changed = false;
    for (size_t i = 0; i < n; i += len) {
        uint32_t cp = uni_next(p + i, &len);
        if (cp < 0x3400 || !(uni_bits(cp) & UNI_CJK))
            continue;
        text_rewrite_copy(&w, i - w.at);
        text_rewrite_replace(&w, len, " ", 1);
        text_rewrite_insert(&w, p + i, len);
        text_rewrite_insert(&w, " ", 1);
        changed = true;
    }
    if (!changed)
        return;
    text_rewrite_copy(&w, n - w.at);
    text_rewrite_end(&w);
}

static int apply(const void *data, struct tok_text *t, struct err *e) {
    const struct bert *b = data;
    if (b->clean_text)
        norm_map(t, clean);
    if (b->cjk)
        space_cjk(t);
    if (b->accents) {
        norm_nfd.apply(NULL, t, e);
        norm_drop(t, UNI_BERT_ACCENT);
    }
    if (b->lowercase)
        norm_lower(t);
    return 0;
}

const struct tok_norm_kind norm_bert = {"BertNormalizer", load, free, apply};
