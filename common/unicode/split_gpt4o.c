/* The words of GPT-4o (and Llama 4), and of Mistral's Tekken, which has no contractions and single
 * digits. A word with an upper and a lower case part, U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and L =
 * [\p{Ll}\p{Lm}\p{Lo}\p{M}]:
 * [^\r\n\p{L}\p{N}]?U*L+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?U+L*(?i:...)?|
 * \p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+
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

/* U*L+ at p: where it ends, or NULL. As U* is greedy, L+ begins behind it, or is the last of its
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

/* The first two alternatives at p, without contractions; NULL where neither matches. The one
 * optional character before a word may be a mark, which can be a part of the word as well. */
static const char *word(const char *p, const char *end) {
    size_t len;
    enum split_class class = split_class_at(p, &len);
    bool lead = class == SPLIT_OTHER || class == SPLIT_SPACE;
    const char *behind = p + len, *upper_behind = behind, *upper = p, *found = NULL;
    if (lead)
        found = lower_word(behind, end, &upper_behind);
    if (!found)
        found = lower_word(p, end, &upper);
    if (!found && upper_behind > behind)
        found = upper_behind; // no character of L follows: it would have been found
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
