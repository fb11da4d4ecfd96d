/* The words of GPT-4o (and Llama 4), and of Mistral's Tekken.
 *
 * A word has an upper and a lower case part, with U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and
 * L = [\p{Ll}\p{Lm}\p{Lo}\p{M}]. The pattern of GPT-4o, one alternative a line:
 *
 *     [^\r\n\p{L}\p{N}]?U*L+(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 *     [^\r\n\p{L}\p{N}]?U+L*(?i:'s|'t|'re|'ve|'m|'ll|'d)?
 *     \p{N}{1,3}
 *      ?[^\s\p{L}\p{N}]+[\r\n/]*
 *     \s*[\r\n]+
 *     \s+(?!\S)
 *     \s+
 *
 * Tekken has no contractions, and its numbers are single digits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "unicode/split_words.h"

#define BOTH  (UNI_SET(UNI_LM) | UNI_SET(UNI_LO) | UNI_MARKS)
#define UPPER (BOTH | UNI_SET(UNI_LU) | UNI_SET(UNI_LT))
#define LOWER (BOTH | UNI_SET(UNI_LL))

static const char *run(const char *p, const char *end, unsigned set) {
    size_t len;
    while (p < end && UNI_IN(uni_bits(uni_next(p, &len)), set))
        p += len;
    return p;
}

/* The end of U*L+ at p, or NULL. U* is greedy, so L+ begins after it, or is the last of its
 * characters that is in L too. *upper gets the end of the run of U. */
static const char *lower_word(const char *p, const char *end, const char **upper) {
    const char *both = NULL; // the end of the last character in U and L
    size_t len;
    while (p < end) {
        unsigned bits = uni_bits(uni_next(p, &len));
        if (!UNI_IN(bits, UPPER))
            break;
        p += len;
        if (UNI_IN(bits, BOTH))
            both = p;
    }
    *upper = p;
    const char *lower = run(p, end, LOWER);
    return lower > p ? lower : both;
}

/* The end of the first or second alternative at p, without contractions; NULL if neither matches.
 * The optional character before a word may be a mark, which can also be part of the word. */
static const char *word(const char *p, const char *end) {
    size_t len;
    enum split_class class = split_class_at(p, &len);
    bool lead = class == SPLIT_OTHER || class == SPLIT_SPACE;
    const char *rest = p + len, *upper_rest = rest, *upper = p, *found = NULL;
    if (lead)
        found = lower_word(rest, end, &upper_rest);
    if (!found)
        found = lower_word(p, end, &upper);
    if (!found && upper_rest > rest)
        found = upper_rest; // no character of L follows, else lower_word had found it
    if (!found && upper > p)
        found = upper;
    return found;
}

static inline const char *match(const char *p, const char *end, int digits, bool contractions) {
    const char *found = word(p, end);
    if (found)
        return contractions && found < end && *found == '\''
                   ? found + split_contraction(found, end, true)
                   : found;
    size_t len;
    enum split_class class = split_class_at(p, &len);
    if (class == SPLIT_NUMBER) {
        while (digits-- > 0 && p < end && split_class_at(p, &len) == SPLIT_NUMBER)
            p += len;
        return p;
    }
    size_t next_len;
    if (class == SPLIT_OTHER ||
        (*p == ' ' && end - p > 1 && split_class_at(p + 1, &next_len) == SPLIT_OTHER)) {
        p = split_run(p + len, end, SPLIT_OTHER);
        while (p < end && (*p == '\n' || *p == '\r' || *p == '/'))
            p++;
        return p;
    }
    return split_space(p, end, true);
}

const char *split_gpt4o(const char *p, const char *end) {
    return match(p, end, 3, true);
}

const char *split_tekken(const char *p, const char *end) {
    return match(p, end, 1, false);
}
