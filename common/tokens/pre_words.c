/* Pre-tokenizers that split by the kind of each character.
 *
 * - Whitespace: words and runs of punctuation, as \w+|[^\w\s]+ finds them.
 * - WhitespaceSplit: at white space, which is dropped.
 * - Punctuation: at punctuation, by a behavior of pre.h.
 * - BertPreTokenizer: at white space, and each punctuation character is a word.
 * - CharDelimiterSplit: at one given character, which is dropped.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/pre.h"
#include "unicode/unicode.h"

/* A run of characters of one kind is a word. White space is dropped. */
static int whitespace(const void *data, struct pre_run *run, size_t step,
                      const struct tok_piece *p) {
    enum { SPACE, WORD, OTHER };
    int last = SPACE;
    size_t from = 0, len = 0;
    (void)data;
    for (size_t i = 0; i <= p->n; i += len) {
        unsigned bits = i < p->n ? uni_bits(uni_next(p->p + i, &len)) : UNI_SPACE;
        int kind = bits & UNI_RUST_WORD ? WORD : bits & UNI_SPACE ? SPACE : OTHER;
        if (kind != last) {
            struct tok_piece word = tok_piece_cut(p, from, i);
            if (last != SPACE && pre_next(run, step, &word) != 0)
                return -1;
            from = i;
            last = kind;
        }
        if (i == p->n)
            break;
    }
    return 0;
}

static int whitespace_split(const void *data, struct pre_run *run, size_t step,
                            const struct tok_piece *p) {
    (void)data;
    return pre_split_chars(run, step, p, UNI_SPACE, BEHAVIOR_REMOVED);
}

static void *load_behavior(struct json *j) {
    enum pre_behavior *b = xcalloc(1, sizeof *b);
    struct str key;
    *b = BEHAVIOR_ISOLATED;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "behavior"))
            *b = pre_behavior_load(j);
        else
            json_skip(j);
    return b;
}

static int punctuation(const void *data, struct pre_run *run, size_t step,
                       const struct tok_piece *p) {
    const enum pre_behavior *b = data;
    return pre_split_chars(run, step, p, UNI_PUNCT, *b);
}

/* Passes on the words between white space and punctuation, and each punctuation character. */
static int bert(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p) {
    size_t from = 0, len = 0;
    (void)data;
    for (size_t i = 0; i <= p->n; i += len) {
        unsigned bits = i < p->n ? uni_bits(uni_next(p->p + i, &len)) : UNI_SPACE;
        if (i < p->n && !(bits & (UNI_SPACE | UNI_PUNCT)))
            continue;
        struct tok_piece word = tok_piece_cut(p, from, i);
        if (word.n && pre_next(run, step, &word) != 0)
            return -1;
        if (i == p->n)
            break;
        from = i + len;
        if (bits & UNI_SPACE)
            continue;
        word = tok_piece_cut(p, i, from);
        if (pre_next(run, step, &word) != 0)
            return -1;
    }
    return 0;
}

static void *load_delimiter(struct json *j) {
    uint32_t *cp = xcalloc(1, sizeof *cp);
    struct str key;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "delimiter")) {
            *cp = component_char(j);
            found = true;
        } else {
            json_skip(j);
        }
    component_need(j, found, "CharDelimiterSplit", "delimiter");
    return cp;
}

static int delimiter(const void *data, struct pre_run *run, size_t step,
                     const struct tok_piece *p) {
    const uint32_t *cp = data;
    size_t from = 0, len;
    for (size_t i = 0; i < p->n; i += len) {
        if (uni_next(p->p + i, &len) != *cp)
            continue;
        struct tok_piece word = tok_piece_cut(p, from, i);
        if (pre_next(run, step, &word) != 0)
            return -1;
        from = i + len;
    }
    struct tok_piece word = tok_piece_cut(p, from, p->n);
    return pre_next(run, step, &word);
}

const struct pre_kind pre_whitespace = {"Whitespace", NULL, NULL, whitespace};
const struct pre_kind pre_whitespace_split = {"WhitespaceSplit", NULL, NULL, whitespace_split};
const struct pre_kind pre_punctuation = {"Punctuation", load_behavior, free, punctuation};
const struct pre_kind pre_bert = {"BertPreTokenizer", NULL, NULL, bert};
const struct pre_kind pre_char_delimiter = {"CharDelimiterSplit", load_delimiter, free, delimiter};
