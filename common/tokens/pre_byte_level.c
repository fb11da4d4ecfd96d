/* ByteLevel: GPT-2's split into words, numbers, punctuation and white space, and the spelling of
 * bytes in the byte alphabet (bytechars.h).
 *
 * "it's 5 o'clock" is split into "it", "'s", " 5", " o", "'", "clock". As the last step it passes
 * the bytes themselves, and the model looks them up as bytes (pres.byte_level). Only if another
 * step follows are they spelled.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/bytechars.h"
#include "tokens/component.h"
#include "tokens/pre.h"
#include "unicode/regex.h"
#include "unicode/unicode.h"

/* From GPT-2's encoder.py. */
static const char pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

struct byte_level {
    bool add_prefix_space;
    struct regex *words; // NULL: no split
};

static void *load(struct json *j) {
    struct byte_level *b = xcalloc(1, sizeof *b);
    struct str key;
    bool prefix = false, use_regex = true;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "add_prefix_space")) {
            b->add_prefix_space = json_bool(j);
            prefix = true;
        } else if (str_eq(key, "use_regex")) {
            use_regex = json_bool(j);
        } else {
            json_skip(j);
        }
    component_need(j, prefix, "ByteLevel", "add_prefix_space");
    if (use_regex)
        b->words = regex_new(str_of(pattern), NULL);
    return b;
}

static void unload(void *data) {
    struct byte_level *b = data;
    regex_free(b->words);
    free(b);
}

/* Passes on the word, spelled in the byte alphabet where that is needed. */
static int spell(struct pre_run *run, size_t step, const struct tok_piece *word) {
    if (step + 1 == run->pres->n && run->pres->byte_level)
        return pre_next(run, step, word);
    struct tok_text t = {0};
    text_set(&t, word, run->track);
    bytechars_spell(&t);
    int rc = pre_next(run, step, &t.now);
    text_free(&t);
    return rc;
}

static int split(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p) {
    const struct byte_level *b = data;
    struct tok_text *t = &run->work[step];
    text_set(t, p, run->track);
    if (b->add_prefix_space && p->p[0] != ' ') {
        struct text_rewrite w = text_rewrite_begin(t);
        size_t len = uni_len(p->p[0]);
        text_rewrite_replace(&w, len, " ", 1);
        text_rewrite_insert(&w, p->p, len);
        text_rewrite_copy(&w, p->n - len);
        text_rewrite_end(&w);
    }
    struct tok_piece whole = t->now;
    if (!b->words)
        return spell(run, step, &whole);
    struct regex_iter it = regex_begin(b->words, run->regex, (struct str){whole.p, whole.n});
    size_t start, end;
    int found;
    // The matches cover the whole text.
    while ((found = regex_next(&it, &start, &end, run->e)) > 0) {
        struct tok_piece word = tok_piece_cut(&whole, start, end);
        if (spell(run, step, &word) != 0)
            return -1;
    }
    return found;
}

const struct pre_kind pre_byte_level = {"ByteLevel", load, unload, split};
