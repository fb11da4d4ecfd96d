/* Letter case and character classes, as Python's str methods have them.
 *
 * Case mappings are Unicode's full ones: "ß" becomes "SS". Where one character becomes several, the
 * table is from SpecialCasing.txt; utf8proc knows the rest. A character that is made from another
 * keeps its trust.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <utf8proc.h>

#include "jinja/run.h"

/* Characters whose upper or title case is several characters: cp, upper, title. Sorted by cp. */
static const struct special {
    uint32_t cp, upper[3], title[3];
} specials[] = {
    // clang-format off
    {0xDF, {0x53,0x53}, {0x53,0x73}}, {0x149, {0x2BC,0x4E}, {0x2BC,0x4E}},
    {0x1F0, {0x4A,0x30C}, {0x4A,0x30C}}, {0x390, {0x399,0x308,0x301}, {0x399,0x308,0x301}},
    {0x3B0, {0x3A5,0x308,0x301}, {0x3A5,0x308,0x301}}, {0x587, {0x535,0x552}, {0x535,0x582}},
    {0x1E96, {0x48,0x331}, {0x48,0x331}}, {0x1E97, {0x54,0x308}, {0x54,0x308}},
    {0x1E98, {0x57,0x30A}, {0x57,0x30A}}, {0x1E99, {0x59,0x30A}, {0x59,0x30A}},
    {0x1E9A, {0x41,0x2BE}, {0x41,0x2BE}}, {0x1F50, {0x3A5,0x313}, {0x3A5,0x313}},
    {0x1F52, {0x3A5,0x313,0x300}, {0x3A5,0x313,0x300}},
    {0x1F54, {0x3A5,0x313,0x301}, {0x3A5,0x313,0x301}},
    {0x1F56, {0x3A5,0x313,0x342}, {0x3A5,0x313,0x342}}, {0x1F80, {0x1F08,0x399}, {0x1F88}},
    {0x1F81, {0x1F09,0x399}, {0x1F89}}, {0x1F82, {0x1F0A,0x399}, {0x1F8A}},
    {0x1F83, {0x1F0B,0x399}, {0x1F8B}}, {0x1F84, {0x1F0C,0x399}, {0x1F8C}},
    {0x1F85, {0x1F0D,0x399}, {0x1F8D}}, {0x1F86, {0x1F0E,0x399}, {0x1F8E}},
    {0x1F87, {0x1F0F,0x399}, {0x1F8F}}, {0x1F88, {0x1F08,0x399}, {0x1F88}},
    {0x1F89, {0x1F09,0x399}, {0x1F89}}, {0x1F8A, {0x1F0A,0x399}, {0x1F8A}},
    {0x1F8B, {0x1F0B,0x399}, {0x1F8B}}, {0x1F8C, {0x1F0C,0x399}, {0x1F8C}},
    {0x1F8D, {0x1F0D,0x399}, {0x1F8D}}, {0x1F8E, {0x1F0E,0x399}, {0x1F8E}},
    {0x1F8F, {0x1F0F,0x399}, {0x1F8F}}, {0x1F90, {0x1F28,0x399}, {0x1F98}},
    {0x1F91, {0x1F29,0x399}, {0x1F99}}, {0x1F92, {0x1F2A,0x399}, {0x1F9A}},
    {0x1F93, {0x1F2B,0x399}, {0x1F9B}}, {0x1F94, {0x1F2C,0x399}, {0x1F9C}},
    {0x1F95, {0x1F2D,0x399}, {0x1F9D}}, {0x1F96, {0x1F2E,0x399}, {0x1F9E}},
    {0x1F97, {0x1F2F,0x399}, {0x1F9F}}, {0x1F98, {0x1F28,0x399}, {0x1F98}},
    {0x1F99, {0x1F29,0x399}, {0x1F99}}, {0x1F9A, {0x1F2A,0x399}, {0x1F9A}},
    {0x1F9B, {0x1F2B,0x399}, {0x1F9B}}, {0x1F9C, {0x1F2C,0x399}, {0x1F9C}},
    {0x1F9D, {0x1F2D,0x399}, {0x1F9D}}, {0x1F9E, {0x1F2E,0x399}, {0x1F9E}},
    {0x1F9F, {0x1F2F,0x399}, {0x1F9F}}, {0x1FA0, {0x1F68,0x399}, {0x1FA8}},
    {0x1FA1, {0x1F69,0x399}, {0x1FA9}}, {0x1FA2, {0x1F6A,0x399}, {0x1FAA}},
    {0x1FA3, {0x1F6B,0x399}, {0x1FAB}}, {0x1FA4, {0x1F6C,0x399}, {0x1FAC}},
    {0x1FA5, {0x1F6D,0x399}, {0x1FAD}}, {0x1FA6, {0x1F6E,0x399}, {0x1FAE}},
    {0x1FA7, {0x1F6F,0x399}, {0x1FAF}}, {0x1FA8, {0x1F68,0x399}, {0x1FA8}},
    {0x1FA9, {0x1F69,0x399}, {0x1FA9}}, {0x1FAA, {0x1F6A,0x399}, {0x1FAA}},
    {0x1FAB, {0x1F6B,0x399}, {0x1FAB}}, {0x1FAC, {0x1F6C,0x399}, {0x1FAC}},
    {0x1FAD, {0x1F6D,0x399}, {0x1FAD}}, {0x1FAE, {0x1F6E,0x399}, {0x1FAE}},
    {0x1FAF, {0x1F6F,0x399}, {0x1FAF}}, {0x1FB2, {0x1FBA,0x399}, {0x1FBA,0x345}},
    {0x1FB3, {0x391,0x399}, {0x1FBC}}, {0x1FB4, {0x386,0x399}, {0x386,0x345}},
    {0x1FB6, {0x391,0x342}, {0x391,0x342}}, {0x1FB7, {0x391,0x342,0x399}, {0x391,0x342,0x345}},
    {0x1FBC, {0x391,0x399}, {0x1FBC}}, {0x1FC2, {0x1FCA,0x399}, {0x1FCA,0x345}},
    {0x1FC3, {0x397,0x399}, {0x1FCC}}, {0x1FC4, {0x389,0x399}, {0x389,0x345}},
    {0x1FC6, {0x397,0x342}, {0x397,0x342}}, {0x1FC7, {0x397,0x342,0x399}, {0x397,0x342,0x345}},
    {0x1FCC, {0x397,0x399}, {0x1FCC}}, {0x1FD2, {0x399,0x308,0x300}, {0x399,0x308,0x300}},
    {0x1FD3, {0x399,0x308,0x301}, {0x399,0x308,0x301}}, {0x1FD6, {0x399,0x342}, {0x399,0x342}},
    {0x1FD7, {0x399,0x308,0x342}, {0x399,0x308,0x342}},
    {0x1FE2, {0x3A5,0x308,0x300}, {0x3A5,0x308,0x300}},
    {0x1FE3, {0x3A5,0x308,0x301}, {0x3A5,0x308,0x301}}, {0x1FE4, {0x3A1,0x313}, {0x3A1,0x313}},
    {0x1FE6, {0x3A5,0x342}, {0x3A5,0x342}}, {0x1FE7, {0x3A5,0x308,0x342}, {0x3A5,0x308,0x342}},
    {0x1FF2, {0x1FFA,0x399}, {0x1FFA,0x345}}, {0x1FF3, {0x3A9,0x399}, {0x1FFC}},
    {0x1FF4, {0x38F,0x399}, {0x38F,0x345}}, {0x1FF6, {0x3A9,0x342}, {0x3A9,0x342}},
    {0x1FF7, {0x3A9,0x342,0x399}, {0x3A9,0x342,0x345}}, {0x1FFC, {0x3A9,0x399}, {0x1FFC}},
    {0xFB00, {0x46,0x46}, {0x46,0x66}}, {0xFB01, {0x46,0x49}, {0x46,0x69}},
    {0xFB02, {0x46,0x4C}, {0x46,0x6C}}, {0xFB03, {0x46,0x46,0x49}, {0x46,0x66,0x69}},
    {0xFB04, {0x46,0x46,0x4C}, {0x46,0x66,0x6C}}, {0xFB05, {0x53,0x54}, {0x53,0x74}},
    {0xFB06, {0x53,0x54}, {0x53,0x74}}, {0xFB13, {0x544,0x546}, {0x544,0x576}},
    {0xFB14, {0x544,0x535}, {0x544,0x565}}, {0xFB15, {0x544,0x53B}, {0x544,0x56B}},
    {0xFB16, {0x54E,0x546}, {0x54E,0x576}}, {0xFB17, {0x544,0x53D}, {0x544,0x56D}}
    // clang-format on
};

static int by_cp(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = ((const struct special *)b)->cp;
    return (x > y) - (x < y);
}

static const struct special *special(uint32_t cp) {
    return cp < 0xDF ? NULL
                     : bsearch(&cp, specials, sizeof specials / sizeof *specials, sizeof *specials,
                               by_cp);
}

static void add_all(struct jbuild *b, const uint32_t cps[3], bool trusted) {
    for (int i = 0; i < 3 && cps[i]; i++)
        jb_char(b, cps[i], trusted);
}

static void add_upper(struct jbuild *b, uint32_t cp, bool trusted) {
    const struct special *s = special(cp);
    if (s)
        add_all(b, s->upper, trusted);
    else
        jb_char(b, (uint32_t)utf8proc_toupper((int32_t)cp), trusted);
}

static void add_title(struct jbuild *b, uint32_t cp, bool trusted) {
    const struct special *s = special(cp);
    if (s)
        add_all(b, s->title, trusted);
    else
        jb_char(b, (uint32_t)utf8proc_totitle((int32_t)cp), trusted);
}

static utf8proc_category_t category(uint32_t cp) {
    return utf8proc_category((int32_t)cp);
}

static bool is_cased(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

static bool is_upper(uint32_t cp) {
    return category(cp) == UTF8PROC_CATEGORY_LU;
}

static bool case_ignorable(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_ME || c == UTF8PROC_CATEGORY_CF ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_SK || cp == '\'' || cp == '.' ||
           cp == ':' || cp == 0xB7 || cp == 0x2018 || cp == 0x2019 || cp == 0x2024 || cp == 0x2027;
}

/* Whether a capital sigma at `at` ends its word and so becomes U+03C2 (Unicode 3.13,
 * Final_Sigma). */
static bool final_sigma(const struct jtext *t, size_t at) {
    size_t len, i = at;
    bool before = false;
    while (i > 0 && !before) {
        do
            i--;
        while (i > 0 && ((unsigned char)t->p[i] & 0xC0) == 0x80);
        uint32_t cp = jt_decode(t, i, &len);
        if (case_ignorable(cp))
            continue;
        before = is_cased(cp);
        if (!before)
            return false;
    }
    for (i = at + 2; i < t->n && before; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        if (!case_ignorable(cp))
            return !is_cased(cp);
    }
    return before;
}

static void add_lower(struct jbuild *b, const struct jtext *t, size_t at, uint32_t cp) {
    bool trusted = jt_trusted(t, at);
    if (cp == 0x3A3) {
        jb_char(b, final_sigma(t, at) ? 0x3C2 : 0x3C3, trusted);
    } else if (cp == 0x130) {
        jb_char(b, 'i', trusted);
        jb_char(b, 0x307, trusted);
    } else {
        jb_char(b, (uint32_t)utf8proc_tolower((int32_t)cp), trusted);
    }
}

enum mapping { UPPER, LOWER, TITLE, CAPITALIZE, SWAPCASE };

static struct jtext *map(struct jinja *in, const struct jtext *t, enum mapping mapping) {
    struct jbuild b;
    jb_init(&b, in, t->n);
    jinja_steps(in, 2 * t->n);
    bool in_word = false;
    for (size_t i = 0, len; i < t->n && !in->failed; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        bool first = mapping == TITLE ? !in_word : i == 0;
        if (mapping == UPPER || (mapping == SWAPCASE && !is_upper(cp)))
            add_upper(&b, cp, jt_trusted(t, i));
        else if (first && (mapping == TITLE || mapping == CAPITALIZE))
            add_title(&b, cp, jt_trusted(t, i));
        else
            add_lower(&b, t, i, cp);
        in_word = is_cased(cp);
    }
    struct jtext *out = jb_done(&b);
    out->markup = t->markup;
    return out;
}

struct jtext *jinja_upper(struct jinja *in, const struct jtext *t) {
    return map(in, t, UPPER);
}

struct jtext *jinja_lower(struct jinja *in, const struct jtext *t) {
    return map(in, t, LOWER);
}

struct jtext *jinja_title(struct jinja *in, const struct jtext *t) {
    return map(in, t, TITLE);
}

struct jtext *jinja_capitalize(struct jinja *in, const struct jtext *t) {
    return map(in, t, CAPITALIZE);
}

struct jtext *jinja_swapcase(struct jinja *in, const struct jtext *t) {
    return map(in, t, SWAPCASE);
}

/* utf8proc folds until nothing changes. For sharp s and similar letters that is Python's result. */
struct jtext *jinja_casefold(struct jinja *in, const struct jtext *t) {
    struct jbuild b;
    jb_init(&b, in, t->n);
    jinja_steps(in, 2 * t->n);
    for (size_t i = 0, len; i < t->n && !in->failed; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        utf8proc_int32_t folded[8];
        int last = UTF8PROC_BOUNDCLASS_START;
        utf8proc_ssize_t n =
            utf8proc_decompose_char((int32_t)cp, folded, 8, UTF8PROC_CASEFOLD, &last);
        for (utf8proc_ssize_t k = 0; k < n && k < 8; k++)
            jb_char(&b, (uint32_t)folded[k], jt_trusted(t, i));
    }
    return jb_done(&b);
}

bool jinja_is_cased(struct jinja *in, const struct jtext *t, bool upper) {
    bool any = false;
    jinja_steps(in, 2 * t->n);
    for (size_t i = 0, len; i < t->n; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        if (!is_cased(cp))
            continue;
        if (is_upper(cp) != upper || category(cp) == UTF8PROC_CATEGORY_LT)
            return false;
        any = true;
    }
    return any;
}

bool jinja_is_title(struct jinja *in, const struct jtext *t) {
    bool any = false, in_word = false;
    jinja_steps(in, 2 * t->n);
    for (size_t i = 0, len; i < t->n; i += len) {
        uint32_t cp = jt_decode(t, i, &len);
        bool cased = is_cased(cp), big = cased && category(cp) != UTF8PROC_CATEGORY_LL;
        if (cased && big == in_word)
            return false;
        any |= cased;
        in_word = cased;
    }
    return any;
}

bool jinja_is_alpha(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    return c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO;
}

bool jinja_is_decimal(uint32_t cp) {
    return category(cp) == UTF8PROC_CATEGORY_ND;
}

/* Decimal digits, and digits in superscript, in subscript and in circles. */
bool jinja_is_digit(uint32_t cp) {
    return jinja_is_decimal(cp) || cp == 0xB2 || cp == 0xB3 || cp == 0xB9 || cp == 0x2070 ||
           (cp >= 0x2074 && cp <= 0x2079) || (cp >= 0x2080 && cp <= 0x2089) ||
           (cp >= 0x2460 && cp <= 0x2468) || (cp >= 0x2474 && cp <= 0x247C) ||
           (cp >= 0x2488 && cp <= 0x2490) || cp == 0x24EA || (cp >= 0x24F5 && cp <= 0x24FD) ||
           cp == 0x24FF || (cp >= 0x2776 && cp <= 0x277E) || (cp >= 0x2780 && cp <= 0x2788) ||
           (cp >= 0x278A && cp <= 0x2792);
}

bool jinja_is_numeric(uint32_t cp) {
    utf8proc_category_t c = category(cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

bool jinja_is_printable(uint32_t cp) {
    if (cp < 0x7F)
        return cp >= 0x20;
    utf8proc_category_t c = category(cp);
    return c != UTF8PROC_CATEGORY_CN && c < UTF8PROC_CATEGORY_ZS;
}
