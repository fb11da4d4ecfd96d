/* Hand-written matchers for the published split patterns. They cost much less than a regular
 * expression.
 *
 * A matcher implements one pattern, identified by its exact text, whose matches are adjacent and
 * cover any text. tests/unit/split_words.c compares each matcher with its regular expression on
 * random text.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef UNICODE_SPLIT_WORDS_H
#define UNICODE_SPLIT_WORDS_H

#include <stdbool.h>

#include "base/mem.h"
#include "unicode/unicode.h"

struct split_words {
    const char *pattern;
    /* The end of the match that begins at p; p < end. The text is valid UTF-8. */
    const char *(*match)(const char *p, const char *end);
};

const struct split_words *split_words_find(struct str pattern); // NULL: not one of them
const struct split_words *split_words_list(size_t *n);          // all of them

const char *split_gpt2(const char *p, const char *end);
const char *split_llama3(const char *p, const char *end); // cl100k has the same words
const char *split_qwen2(const char *p, const char *end);
const char *split_gpt4o(const char *p, const char *end);
const char *split_tekken(const char *p, const char *end);

/* The class of a character. NEWLINE is \n and \r, SPACE all other white space. */
enum split_class { SPLIT_OTHER, SPLIT_LETTER, SPLIT_NUMBER, SPLIT_SPACE, SPLIT_NEWLINE };

extern const unsigned char split_ascii[128]; // an enum split_class each

static inline enum split_class split_class_at(const char *p, size_t *len) {
    if (!((unsigned char)*p & 0x80)) {
        *len = 1;
        return (enum split_class)split_ascii[(unsigned char)*p];
    }
    unsigned bits = uni_bits(uni_next(p, len));
    return UNI_IN(bits, UNI_LETTERS)   ? SPLIT_LETTER
           : UNI_IN(bits, UNI_NUMBERS) ? SPLIT_NUMBER
           : bits & UNI_SPACE          ? SPLIT_SPACE
                                       : SPLIT_OTHER;
}

/* The end of the run of characters of this class that begins at p. */
static inline const char *split_run(const char *p, const char *end, enum split_class class) {
    size_t len;
    while (p < end && split_class_at(p, &len) == class)
        p += len;
    return p;
}

/* The bytes of a contraction whose apostrophe is at p: 's, 't, 'm, 'd, 're, 've or 'll; 0 if there
 * is none. With fold, in either case, and U+017F is an s. */
size_t split_contraction(const char *p, const char *end, bool fold);

/* The end of \s+(?!\S)|\s+ at white space p. With newlines, \s*[\r\n]+ is tried first. */
const char *split_space(const char *p, const char *end, bool newlines);

#endif
