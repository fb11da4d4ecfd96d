/* Precompiled: SentencePiece's character map, which replaces short texts by others.
 *
 * The map is normalizer_spec's precompiled_charsmap, in base64. Its bytes are:
 *
 *     size of the trie, u32   a double-array trie (Darts-clone)   texts, each ended by NUL
 *
 * The trie leads from a key to the offset of its replacement. For each grapheme cluster of up to 5
 * bytes, the shortest key that begins the cluster replaces the whole cluster. In any other cluster
 * each character is looked up alone. This is what the reference does.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include <utf8proc.h>

#include "base/base64.h"
#include "base/utf8.h"
#include "tokens/component.h"
#include "tokens/norm.h"
#include "unicode/unicode.h"

struct charsmap {
    struct buf bytes;
    size_t n_units;  // [n_units] u32 of the trie
    size_t texts;    // offset in `bytes` of the replacement texts
    bool ascii[128]; // whether a key begins with this character
};

static uint32_t unit(const struct charsmap *c, size_t i) {
    uint32_t v = 0;
    if (i < c->n_units)
        for (int k = 3; k >= 0; k--)
            v = v << 8 | (unsigned char)c->bytes.p[4 + i * 4 + (size_t)k];
    return v;
}

static size_t unit_offset(uint32_t u) {
    return (size_t)(u >> 10) << ((u & 1u << 9) >> 6);
}

/* Whether every value of the trie is the offset of a character in the texts. All that follows a
 * normalizer takes its text to be UTF-8, so a replacement must not begin inside a character. */
static bool values_begin_characters(const struct charsmap *c) {
    for (size_t i = 0; i < c->n_units; i++) {
        uint32_t u = unit(c, i);
        if (u >> 31 || !(u >> 8 & 1)) // a value itself, or a node without one
            continue;
        size_t at = unit(c, i ^ unit_offset(u)) & 0x7FFFFFFF;
        if (at < c->bytes.n - c->texts && uni_inside(c->bytes.p[c->texts + at]))
            return false;
    }
    return true;
}

/* Finds the shortest key that begins `key`, and its replacement. False if there is none. */
static bool find(const struct charsmap *c, struct str key, struct str *out) {
    size_t node = unit_offset(unit(c, 0));
    for (size_t i = 0; i < key.n && key.p[i]; i++) {
        unsigned char byte = (unsigned char)key.p[i];
        node ^= byte;
        uint32_t u = unit(c, node);
        if (node >= c->n_units || (u & (1u << 31 | 0xFF)) != byte)
            return false;
        node ^= unit_offset(u);
        if (u >> 8 & 1) {
            size_t at = unit(c, node) & 0x7FFFFFFF, end;
            if (at >= c->bytes.n - c->texts || uni_inside(c->bytes.p[c->texts + at]))
                return false;
            at += c->texts;
            for (end = at; end < c->bytes.n && c->bytes.p[end]; end++)
                ;
            *out = (struct str){c->bytes.p + at, end - at};
            return true;
        }
    }
    return false;
}

static void *load(struct json *j) {
    struct charsmap *c = xcalloc(1, sizeof *c);
    struct str key, map = {0};
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "precompiled_charsmap"))
            map = json_str(j);
        else
            json_skip(j);
    component_need(j, map.p, "Precompiled", "precompiled_charsmap");
    if (json_failed(j))
        return c;
    uint32_t size = 0;
    if (base64_decode(map, &c->bytes) && c->bytes.n >= 4)
        for (int k = 3; k >= 0; k--)
            size = size << 8 | (unsigned char)c->bytes.p[k];
    if (size == 0 || size % 4 || size > c->bytes.n - 4) {
        json_refuse(j, "precompiled_charsmap is malformed");
        return c;
    }
    c->n_units = size / 4;
    c->texts = 4 + (size_t)size;
    // Each replacement must be valid UTF-8.
    if (utf8_valid(c->bytes.p + c->texts, c->bytes.n - c->texts) != c->bytes.n - c->texts)
        json_refuse(j, "precompiled_charsmap has texts that are not UTF-8");
    else if (!values_begin_characters(c))
        json_refuse(j, "precompiled_charsmap has a text that begins inside a character");
    for (int k = 1; k < 128; k++) {
        size_t node = unit_offset(unit(c, 0)) ^ (size_t)k;
        c->ascii[k] = node < c->n_units && (unit(c, node) & (1u << 31 | 0xFF)) == (uint32_t)k;
    }
    return c;
}

static void unload(void *data) {
    struct charsmap *c = data;
    buf_free(&c->bytes);
    free(c);
}

/* The text is read at `from`, and origins are taken at w.at. The two differ after a removal at the
 * beginning of the text, which the reference does not count. From then on each character gets the
 * origin of a character that is that many characters earlier. */
struct mapping {
    struct text_rewrite w;
    size_t from;
};

/* Writes one character in place of the one at w.at. */
static void put(struct text_rewrite *w, const char *p, size_t n) {
    text_rewrite_replace(w, uni_len(w->t->now.p[w->at]), p, n);
}

static void copy(struct mapping *m, size_t to) {
    const char *p = m->w.t->now.p;
    if (m->w.at == m->from) {
        text_rewrite_copy(&m->w, to - m->from);
        m->from = to;
    }
    for (size_t len; m->from < to; m->from += len) {
        len = uni_len(p[m->from]);
        put(&m->w, p + m->from, len);
    }
}

/* Replaces the next old_n bytes with the characters of new, one by one. If new is shorter, the rest
 * of the old characters is dropped. If it is longer, its rest is inserted. */
static void replace(struct mapping *m, size_t old_n, struct str new) {
    const char *p = m->w.t->now.p;
    size_t end = m->from + old_n, i = 0, len;
    bool first = m->w.at == 0 && new.n == 0;
    for (; i < new.n && m->from < end; i += len) {
        len = uni_len(new.p[i]);
        m->from += uni_len(p[m->from]);
        put(&m->w, new.p + i, len);
    }
    text_rewrite_insert(&m->w, new.p + i, new.n - i);
    for (; m->from < end; m->from += len) {
        len = uni_len(p[m->from]);
        if (!first)
            text_rewrite_drop(&m->w, uni_len(p[m->w.at]));
    }
}

/* Returns the end of the grapheme cluster that begins at i. */
static size_t cluster_end(struct str s, size_t i) {
    size_t len;
    utf8proc_int32_t state = 0, before = (utf8proc_int32_t)uni_next(s.p + i, &len);
    for (i += len; i < s.n; i += len) {
        if ((unsigned char)s.p[i] < 0x80 && s.p[i] != '\n' && before < 0x80)
            return i;
        utf8proc_int32_t cp = (utf8proc_int32_t)uni_next(s.p + i, &len);
        if (utf8proc_grapheme_break_stateful(before, cp, &state))
            return i;
        before = cp;
    }
    return i;
}

static int apply(const void *data, struct tok_text *t, struct err *e) {
    const struct charsmap *c = data;
    struct str s = {t->now.p, t->now.n}, to;
    size_t end, len;
    (void)e;
    struct mapping m = {text_rewrite_begin(t), 0};
    bool changed = false;
    for (size_t i = 0; i < s.n; i = end) {
        // The most frequent case: an ASCII character before another, with no key in the
        // map.
        if ((unsigned char)s.p[i] < 0x80 && !c->ascii[(unsigned char)s.p[i]] &&
            (i + 1 == s.n || (unsigned char)s.p[i + 1] < 0x80)) {
            end = i + 1;
            continue;
        }
        end = cluster_end(s, i);
        if (end - i < 6 && find(c, (struct str){s.p + i, end - i}, &to)) {
            copy(&m, i);
            replace(&m, end - i, to);
            changed = true;
            continue;
        }
        for (size_t k = i; k < end; k += len) {
            len = uni_len(s.p[k]);
            if (!find(c, (struct str){s.p + k, len}, &to))
                continue;
            copy(&m, k);
            replace(&m, len, to);
            changed = true;
        }
    }
    if (!changed)
        return 0;
    copy(&m, s.n);
    text_rewrite_end(&m.w);
    return 0;
}

const struct tok_norm_kind norm_precompiled = {"Precompiled", load, unload, apply};
