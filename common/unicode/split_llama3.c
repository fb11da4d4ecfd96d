/* The words of Llama 3 (and cl100k) and of Qwen 2. The pattern of Llama 3, one alternative a line:
 *
 *     (?i:'s|'t|'re|'ve|'m|'ll|'d)
 *     [^\r\n\p{L}\p{N}]?\p{L}+
 *     \p{N}{1,3}
 *      ?[^\s\p{L}\p{N}]+[\r\n]*
 *     \s*[\r\n]+
 *     \s+(?!\S)
 *     \s+
 *
 * The numbers of Qwen 2 are single digits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "unicode/split_words.h"

static inline const char *match(const char *p, const char *end, int digits) {
    size_t len, next_len = 0;
    enum split_class class = split_class_at(p, &len), next = SPLIT_SPACE;
    if (class == SPLIT_LETTER)
        return split_run(p + len, end, SPLIT_LETTER);
    if (*p == '\'') {
        size_t n = split_contraction(p, end, true);
        if (n)
            return p + n;
    }
    if (class == SPLIT_NUMBER) {
        while (digits-- > 0 && p < end && split_class_at(p, &len) == SPLIT_NUMBER)
            p += len;
        return p;
    }
    if (p + len < end)
        next = split_class_at(p + len, &next_len);
    if (next == SPLIT_LETTER && class != SPLIT_NEWLINE)
        return split_run(p + len + next_len, end, SPLIT_LETTER);
    if (class == SPLIT_OTHER || (*p == ' ' && next == SPLIT_OTHER)) {
        p = split_run(p + len, end, SPLIT_OTHER);
        while (p < end && (*p == '\n' || *p == '\r'))
            p++;
        return p;
    }
    return split_space(p, end, true);
}

const char *split_llama3(const char *p, const char *end) {
    return match(p, end, 3);
}

const char *split_qwen2(const char *p, const char *end) {
    return match(p, end, 1);
}
