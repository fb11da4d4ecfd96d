/* Texts that know who wrote each of their bytes, and the builder that makes them.
 *
 * A text is valid UTF-8 and never changes. Usually the template wrote all of it, or all of it is
 * foreign: it came from messages, tools or documents. One word (`trust`) says which. Only a text of
 * both kinds has a mask:
 *
 *     "[" + name + "]"      text  [Ann]
 *                           mask  10001
 *
 * Every string function writes through the builder, so no byte loses its origin. This
 * keeps a user from writing control tokens into a prompt.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_TEXT_H
#define JINJA_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

struct jinja;

enum jtrust { TRUST_ALL, TRUST_NONE, TRUST_MIXED };

struct jtext {
    const char *p;
    size_t n;            // bytes
    const uint8_t *mask; // [n] 1 where trusted; only for TRUST_MIXED
    uint8_t trust;       // enum jtrust
    // Python's Markup, made by |safe and |escape: text that is joined to it is HTML-escaped.
    bool markup;
    // The builder that ends with these bytes, or NULL: see jt_concat.
    struct jbuild *tail;
};

static inline struct str jt_view(const struct jtext *t) {
    return (struct str){t->p, t->n};
}

// A view: s must outlive the rendering.
struct jtext *jt_new(struct jinja *in, struct str s, enum jtrust trust);
// A view of bytes [from, to).
struct jtext *jt_slice(struct jinja *in, const struct jtext *t, size_t from, size_t to);
/* Returns a + b. If a is itself a sum, b is appended in place, so that a loop of sums stays
 * linear. */
struct jtext *jt_concat(struct jinja *in, const struct jtext *a, const struct jtext *b);

/* A text that is being built, in the rendering's arena. */
struct jbuild {
    struct jinja *in;
    char *p;
    uint8_t *mask; // [cap] NULL unless trust is TRUST_MIXED
    size_t n, cap;
    uint8_t trust; // of the bytes so far
};

void jb_init(struct jbuild *b, struct jinja *in, size_t expected);
void jb_add(struct jbuild *b, const char *p, size_t n, bool trusted);
void jb_str(struct jbuild *b, const char *s, bool trusted);
void jb_text(struct jbuild *b, const struct jtext *t);
void jb_slice(struct jbuild *b, const struct jtext *t, size_t from, size_t to);
void jb_char(struct jbuild *b, uint32_t cp, bool trusted);
void jb_fill(struct jbuild *b, const struct jtext *t, int64_t times);
struct jtext *jb_done(struct jbuild *b);

static inline bool jt_trusted(const struct jtext *t, size_t i) {
    return t->trust == TRUST_MIXED ? t->mask[i] != 0 : t->trust == TRUST_ALL;
}
/* Whether the template wrote all of it. Quotes and brackets around a text count as written by the
 * same author. */
static inline bool jt_pure(const struct jtext *t) {
    return t->n == 0 || t->trust == TRUST_ALL;
}

/* Characters. Positions count code points, as in Python. */
size_t jt_chars(struct jinja *in, const struct jtext *t);
// Returns the byte position of a character position.
size_t jt_byte_at(struct jinja *in, const struct jtext *t, size_t chars);
uint32_t jt_decode(const struct jtext *t, size_t at, size_t *len);
/* Returns the byte position of the first (last) needle in t[from..to), or SIZE_MAX. */
size_t jt_find(struct jinja *in, const struct jtext *t, struct str needle, size_t from, size_t to);
size_t jt_rfind(struct jinja *in, const struct jtext *t, struct str needle, size_t from, size_t to);
bool jt_is_space(uint32_t cp);    // Python's str.isspace of one character
bool jt_is_line_end(uint32_t cp); // a line end of str.splitlines

#endif
