/* GPT-2's words: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "unicode/split_words.h"

const char *split_gpt2(const char *p, const char *end) {
    size_t len;
    enum split_class class = split_class_at(p, &len);
    if (*p == '\'') {
        size_t n = split_contraction(p, end, false);
        if (n)
            return p + n;
    }
    const char *from = p;
    if (*p == ' ' && end - p > 1) {
        p++;
        class = split_class_at(p, &len);
    }
    switch (class) {
    case SPLIT_LETTER:
        return split_run(p + len, end, SPLIT_LETTER);
    case SPLIT_NUMBER:
        return split_run(p + len, end, SPLIT_NUMBER);
    case SPLIT_OTHER:
        return split_run(p + len, end, SPLIT_OTHER);
    case SPLIT_SPACE:
    case SPLIT_NEWLINE:
        break;
    }
    return split_space(from, end, false);
}
