/* Normalizing character by character: see norm_chars.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/norm_chars.h"

#include <utf8proc.h>

#include "base/utf8.h"
#include "unicode/unicode.h"

void norm_map(struct tok_text *t, int (*map)(uint32_t cp, char *out)) {
    const char *p = t->now.p;
    size_t n = t->now.n, len;
    char out[4];
    size_t i = 0;
    while (i < n && map(uni_next(p + i, &len), out) == CHAR_KEEP)
        i += len;
    if (i == n)
        return;
    struct text_rewrite w = text_rewrite_begin(t);
    for (; i < n; i += len) {
        int got = map(uni_next(p + i, &len), out);
        if (got == CHAR_KEEP)
            continue;
        text_rewrite_copy(&w, i - w.at);
        if (got == 0)
            text_rewrite_drop(&w, len);
        else
            text_rewrite_replace(&w, len, out, (size_t)got);
    }
    text_rewrite_copy(&w, n - w.at);
    text_rewrite_end(&w);
}

/* Simple lower case as of Unicode 17, which Rust has. utf8proc has an older version. */
static uint32_t lower(uint32_t cp) {
    static const struct {
        uint32_t from, to, lower; // the lower case of `from`; the range continues from there
    } newer[] = {{0x1C89, 0x1C89, 0x1C8A},   {0xA7CB, 0xA7CB, 0x264},  {0xA7CC, 0xA7CC, 0xA7CD},
                 {0xA7CE, 0xA7CE, 0xA7CF},   {0xA7D2, 0xA7D2, 0xA7D3}, {0xA7D4, 0xA7D4, 0xA7D5},
                 {0xA7DA, 0xA7DA, 0xA7DB},   {0xA7DC, 0xA7DC, 0x19B},  {0x10D50, 0x10D65, 0x10D70},
                 {0x16EA0, 0x16EB8, 0x16EBB}};
    for (size_t i = 0; cp >= 0x1C89 && i < sizeof newer / sizeof *newer; i++)
        if (cp >= newer[i].from && cp <= newer[i].to)
            return newer[i].lower + (cp - newer[i].from);
    return (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp);
}

void norm_lower(struct tok_text *t) {
    const char *p = t->now.p;
    size_t n = t->now.n, len;
    struct text_rewrite w = text_rewrite_begin(t);
    bool changed = false;
    for (size_t i = 0; i < n; i += len) {
        uint32_t cp = uni_next(p + i, &len);
        uint32_t to = cp < 0x80 ? (cp >= 'A' && cp <= 'Z' ? cp + 32 : cp) : lower(cp);
        if (to == cp && cp != 0x130)
            continue;
        char out[4];
        text_rewrite_copy(&w, i - w.at);
        if (cp == 0x130) { // U+0130 alone has a lower case of two characters
            text_rewrite_replace(&w, len, "i", 1);
            text_rewrite_insert(&w, "\xCC\x87", 2);
        } else {
            text_rewrite_replace(&w, len, out, utf8_encode(to, out));
        }
        changed = true;
    }
    if (!changed)
        return;
    text_rewrite_copy(&w, n - w.at);
    text_rewrite_end(&w);
}

void norm_drop(struct tok_text *t, unsigned bits) {
    const char *p = t->now.p;
    size_t n = t->now.n, len, i = 0;
    while (i < n && !(uni_bits(uni_next(p + i, &len)) & bits))
        i += len;
    if (i == n)
        return;
    struct text_rewrite w = text_rewrite_begin(t);
    for (; i < n; i += len)
        if (uni_bits(uni_next(p + i, &len)) & bits) {
            text_rewrite_copy(&w, i - w.at);
            text_rewrite_drop(&w, len);
        }
    text_rewrite_copy(&w, n - w.at);
    text_rewrite_end(&w);
}
