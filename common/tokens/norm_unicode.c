/* NFC, NFD, NFKC and NFKD: Unicode's normal forms (UAX 15).
 *
 * The reference has the tables of Unicode 9, so later characters are left alone. utf8proc
 * decomposes and composes. The text is processed in clusters: "e" and U+0301 are one, which NFC
 * composes to "é". A character that no earlier character can change ends a cluster. Text that is
 * already in the form is copied, and a whole text in the form is left alone.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include <utf8proc.h>

#include "base/utf8.h"
#include "tokens/norm.h"
#include "unicode/unicode.h"

enum { NFC, NFD, NFKC, NFKD };
enum { MOST = 32 }; // characters of one decomposition

struct form {
    bool compose, compat;
};
static const struct form forms[] = {{true, false}, {false, false}, {true, true}, {false, true}};

/* Whether cp has a decomposition and is newer than Unicode 9. */
static bool is_new(uint32_t cp) {
    static const uint32_t ranges[][2] = {{0x32FF, 0x32FF},   {0xA7F2, 0xA7F4},   {0xAB69, 0xAB69},
                                         {0x10781, 0x107BA}, {0x11938, 0x11938}, {0x1E030, 0x1E06D},
                                         {0x1F16C, 0x1F16C}, {0x1FBF0, 0x1FBF9}};
    for (size_t i = 0; cp >= 0x32FF && i < sizeof ranges / sizeof *ranges; i++)
        if (cp >= ranges[i][0] && cp <= ranges[i][1])
            return true;
    return false;
}

/* Returns the canonical combining class. Marks newer than Unicode 9 have class 0. */
static int combining_class(uint32_t cp) {
    return cp < 0x300 || !(uni_bits(cp) & UNI_ACCENT)
               ? 0
               : utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
}

static size_t decompose(uint32_t cp, const struct form *f, int32_t out[MOST]) {
    if (is_new(cp)) {
        out[0] = (int32_t)cp;
        return 1;
    }
    int options = UTF8PROC_DECOMPOSE | (f->compat ? UTF8PROC_COMPAT : 0);
    utf8proc_ssize_t n =
        utf8proc_decompose_char((utf8proc_int32_t)cp, out, MOST, (utf8proc_option_t)options, NULL);
    if (n >= 1 && n <= MOST)
        return (size_t)n;
    out[0] = (int32_t)cp;
    return 1;
}

/* Whether cp stays the same after any other character, and so ends a cluster. */
static bool is_stable(uint32_t cp, const struct form *f) {
    if (cp < (f->compat ? 0xA0 : f->compose ? 0x300 : 0xC0))
        return true;
    if (combining_class(cp) != 0)
        return false;
    // Hangul vowels and finals, and the kana voicing marks, join the character before them.
    if (f->compose && ((cp >= 0x1160 && cp <= 0x11FF) || (cp >= 0x3099 && cp <= 0x309A)))
        return false;
    if (cp >= 0xAC00 && cp <= 0xD7A3)
        return f->compose;
    const utf8proc_property_t *p = utf8proc_get_property((utf8proc_int32_t)cp);
    bool second = f->compose && p->comb_index != UINT16_MAX && (p->comb_index & 0x8000);
    return p->decomp_seqindex == UINT16_MAX && !second;
}

/* Whether no earlier character moves past cp: its decomposition begins with class 0. */
static bool starts(uint32_t cp, const struct form *f) {
    int32_t parts[MOST];
    decompose(cp, f, parts);
    return combining_class((uint32_t)parts[0]) == 0;
}

struct cluster {
    int32_t *cp; // [n]
    size_t n, cap;
};

static void cluster_add(struct cluster *c, int32_t cp) {
    if (c->n == c->cap) {
        c->cap = c->cap ? c->cap * 2 : 64;
        c->cp = xreallocarray(c->cp, c->cap, sizeof *c->cp);
    }
    c->cp[c->n++] = cp;
}

/* Sorts [from, to) by combining class, none of which is 0. The sort is stable. */
static void sort_marks(struct cluster *c, size_t from, size_t to) {
    size_t counts[257] = {0}, n = to - from;
    if (n < 2)
        return;
    int32_t *copy = xreallocarray(NULL, n, sizeof *copy);
    memcpy(copy, c->cp + from, n * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        counts[combining_class((uint32_t)copy[i]) + 1]++;
    for (int k = 0; k < 256; k++)
        counts[k + 1] += counts[k];
    for (size_t i = 0; i < n; i++)
        c->cp[from + counts[combining_class((uint32_t)copy[i])]++] = copy[i];
    free(copy);
}

static void order_marks(struct cluster *c) {
    size_t from = 0;
    for (size_t i = 0; i <= c->n; i++)
        if (i == c->n || combining_class((uint32_t)c->cp[i]) == 0) {
            sort_marks(c, from, i);
            from = i + 1;
        }
}

/* Composes the parts between characters that Unicode 9 does not have. */
static void compose(struct cluster *c) {
    size_t from = 0, n = 0;
    for (size_t i = 0; i <= c->n; i++) {
        if (i < c->n && !is_new((uint32_t)c->cp[i]) &&
            (c->cp[i] < 0x300 || combining_class((uint32_t)c->cp[i]) ||
             !utf8proc_get_property(c->cp[i])->combining_class))
            continue;
        utf8proc_ssize_t got = (utf8proc_ssize_t)(i - from);
        if (got > 1)
            got = utf8proc_normalize_utf32(c->cp + from, got, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
        memmove(c->cp + n, c->cp + from, (size_t)got * sizeof *c->cp);
        n += (size_t)got;
        if (i < c->n)
            c->cp[n++] = c->cp[i];
        from = i + 1;
    }
    c->n = n;
}

/* Rewrites [w->at, end) of the old text, which is one cluster. */
static void rewrite_cluster(struct text_rewrite *w, size_t end, const struct form *f,
                            struct cluster *c) {
    const char *p = w->t->now.p;
    int32_t parts[MOST];
    c->n = 0;
    for (size_t i = w->at, len; i < end; i += len) {
        size_t n = decompose(uni_next(p + i, &len), f, parts);
        for (size_t k = 0; k < n; k++)
            cluster_add(c, parts[k]);
    }
    order_marks(c);
    if (f->compose)
        compose(c);
    for (size_t k = 0; k < c->n; k++) {
        char bytes[4];
        size_t n = utf8_encode((uint32_t)c->cp[k], bytes);
        if (w->at < end)
            text_rewrite_replace(w, uni_len(p[w->at]), bytes, n);
        else
            text_rewrite_insert(w, bytes, n);
    }
    text_rewrite_drop(w, end - w->at);
}

/* Returns the first character at or after i that is not stable, or n. */
static size_t find_unstable(const char *p, size_t n, size_t i, const struct form *f) {
    while (i < n) {
        uint64_t word;
        if (n - i >= sizeof word &&
            (memcpy(&word, p + i, sizeof word), !(word & 0x8080808080808080u))) {
            i += sizeof word;
            continue;
        }
        size_t len;
        if (!is_stable(uni_next(p + i, &len), f))
            return i;
        i += len;
    }
    return n;
}

static int apply_form(struct tok_text *t, int which) {
    const struct form *f = &forms[which];
    const char *p = t->now.p;
    size_t n = t->now.n, at = find_unstable(p, n, 0, f), len;
    if (at == n)
        return 0;
    struct cluster c = {0};
    struct text_rewrite w = text_rewrite_begin(t);
    while (at < n) {
        size_t start = at > w.at ? uni_before(p, at) : at, end = at;
        if (start < w.at)
            start = w.at;
        while (end < n && !is_stable(uni_next(p + end, &len), f) &&
               (f->compose || end == at || !starts(uni_next(p + end, &len), f)))
            end += len;
        text_rewrite_copy(&w, start - w.at);
        rewrite_cluster(&w, end, f, &c);
        at = find_unstable(p, n, end, f);
    }
    text_rewrite_copy(&w, n - w.at);
    text_rewrite_end(&w);
    free(c.cp);
    return 0;
}

static int nfc(const void *data, struct tok_text *t, struct err *e) {
    (void)data, (void)e;
    return apply_form(t, NFC);
}

static int nfd(const void *data, struct tok_text *t, struct err *e) {
    (void)data, (void)e;
    return apply_form(t, NFD);
}

static int nfkc(const void *data, struct tok_text *t, struct err *e) {
    (void)data, (void)e;
    return apply_form(t, NFKC);
}

static int nfkd(const void *data, struct tok_text *t, struct err *e) {
    (void)data, (void)e;
    return apply_form(t, NFKD);
}

const struct tok_norm_kind norm_nfc = {"NFC", NULL, NULL, nfc};
const struct tok_norm_kind norm_nfd = {"NFD", NULL, NULL, nfd};
const struct tok_norm_kind norm_nfkc = {"NFKC", NULL, NULL, nfkc};
const struct tok_norm_kind norm_nfkd = {"NFKD", NULL, NULL, nfkd};
