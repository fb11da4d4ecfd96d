/* Matchers for published split patterns: the list of them, and the parts that they share. See
 * split_words.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "unicode/split_words.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define LEAD         "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER        "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER        "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define SPACES       "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3(numbers)                                                                            \
    CONTRACTIONS "|" LEAD "\\p{L}+|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define GPT4O(contractions, numbers)                                                               \
    LEAD UPPER "*" LOWER "+" contractions "|" LEAD UPPER "+" LOWER "*" contractions "|" numbers    \
               "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES

static const struct split_words list[] = {
    {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
     split_gpt2},
    {"'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", split_gpt2},
    {LLAMA3("\\p{N}{1,3}"), split_llama3},
    {"'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|"
     "\\s+(?!\\S)|\\s+",
     split_llama3},
    {LLAMA3("\\p{N}"), split_qwen2},
    {GPT4O(CONTRACTIONS "?", "\\p{N}{1,3}"), split_gpt4o},
    {GPT4O("", "\\p{N}"), split_tekken},
};

const struct split_words *split_words_list(size_t *n) {
    *n = sizeof list / sizeof *list;
    return list;
}

const struct split_words *split_words_find(struct str pattern) {
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (str_eq(pattern, list[i].pattern))
            return &list[i];
    return NULL;
}

// clang-format off
#define o SPLIT_OTHER
#define l SPLIT_LETTER
#define n SPLIT_NUMBER
#define s SPLIT_SPACE
#define r SPLIT_NEWLINE
const unsigned char split_ascii[128] = {
    o, o, o, o, o, o, o, o, o, s, r, s, s, r, o, o,  o, o, o, o, o, o, o, o, o, o, o, o, o, o, o, o,
    s, o, o, o, o, o, o, o, o, o, o, o, o, o, o, o,  n, n, n, n, n, n, n, n, n, n, o, o, o, o, o, o,
    o, l, l, l, l, l, l, l, l, l, l, l, l, l, l, l,  l, l, l, l, l, l, l, l, l, l, l, o, o, o, o, o,
    o, l, l, l, l, l, l, l, l, l, l, l, l, l, l, l,  l, l, l, l, l, l, l, l, l, l, l, o, o, o, o, o,
};
#undef o
#undef l
#undef n
#undef s
#undef r
// clang-format on

size_t split_contraction(const char *p, const char *end, bool fold) {
    if (end - p < 2)
        return 0;
    unsigned char a = (unsigned char)p[1], b = end - p > 2 ? (unsigned char)p[2] : 0;
    if (fold && a == 0xC5 && b == 0xBF)
        return 3;
    if (fold) {
        a |= a >= 'A' && a <= 'Z' ? 0x20 : 0;
        b |= b >= 'A' && b <= 'Z' ? 0x20 : 0;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l') ? 3 : 0;
}

const char *split_space(const char *p, const char *end, bool newlines) {
    const char *from = p, *last = p,
               *line = NULL; // last character of the run; end of its last newline
    for (size_t len; p < end; p += len) {
        enum split_class class = split_class_at(p, &len);
        if (class == SPLIT_NEWLINE)
            line = p + 1;
        else if (class != SPLIT_SPACE)
            break;
        last = p;
    }
    if (newlines && line)
        return line;
    return p == end || last == from ? p : last;
}
