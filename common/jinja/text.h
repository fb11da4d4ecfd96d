/* Strings that know who wrote each of their bytes, and the builder that every string function
 * writes through.
 *
 * A text is valid UTF-8 and immutable. Mostly all of it is the template's or all of it is foreign
 * (from messages, tools, documents), and one word says so; only where both meet is there a mask of
 * a byte for each byte.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_TEXT_H
#define JINJA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

struct jinja;

enum trust { TRUST_ALL, TRUST_NONE, TRUST_MIXED };

struct jtext {
    const char *p;
    size_t n;            // bytes
    const uint8_t *mask; // [n], 1 where trusted; only of TRUST_MIXED
    uint8_t trust;       // enum trust
    bool markup; // Python's Markup: made by |safe, |escape; HTML-escapes what is joined to it
    struct build *tail; // the builder whose last bytes these are, or NULL: see jt_concat
};

static inline struct str jt_view(const struct jtext *t) {
    return (struct str){t->p, t->n};
}

struct jtext *jt_new(struct jinja *in, struct str s,
                     enum trust trust); // a view: s must outlive the rendering
struct jtext *jt_slice(struct jinja *in, const struct jtext *t, size_t from,
                       size_t to); // bytes; a view
/* a + b. Where a is itself a sum, b is written behind it in place, so that a loop of sums stays
 * linear. */
struct jtext *jt_concat(struct jinja *in, const struct jtext *a, const struct jtext *b);

/* A string in the making; all in the rendering's arena. */
struct build {
    struct jinja *in;
    char *p;
    uint8_t *mask; // [cap], NULL while one word is enough
    size_t n, cap;
    uint8_t trust; // of what is there
};

void jb_init(struct build *b, struct jinja *in, size_t expected);
void jb_add(struct build *b, const char *p, size_t n, bool trusted);
void jb_str(struct build *b, const char *s, bool trusted);
void jb_text(struct build *b, const struct jtext *t);
void jb_slice(struct build *b, const struct jtext *t, size_t from, size_t to);
void jb_char(struct build *b, uint32_t cp, bool trusted);
void jb_fill(struct build *b, const struct jtext *t, int64_t times);
struct jtext *jb_done(struct build *b);

static inline bool jt_trusted(const struct jtext *t, size_t i) {
    return t->trust == TRUST_MIXED ? t->mask[i] != 0 : t->trust == TRUST_ALL;
}
/* Whether the template wrote all of it: what quotes and brackets around it are held to be. */
static inline bool jt_pure(const struct jtext *t) {
    return t->n == 0 || t->trust == TRUST_ALL;
}

/* Characters: all of Python's positions count code points. */
size_t jt_chars(struct jinja *in, const struct jtext *t);
size_t jt_byte_at(struct jinja *in, const struct jtext *t,
                  size_t chars); // byte position of a character position
uint32_t jt_decode(const struct jtext *t, size_t at, size_t *len);
/* Byte position of the first (last) needle in t[from..to), or SIZE_MAX. */
size_t jt_find(struct jinja *in, const struct jtext *t, struct str needle, size_t from, size_t to);
size_t jt_rfind(struct jinja *in, const struct jtext *t, struct str needle, size_t from, size_t to);
bool jt_is_space(uint32_t cp);    // Python's str.isspace of one character
bool jt_is_line_end(uint32_t cp); // of str.splitlines

#endif
