/* Memory: allocation that ends the program when the system has none left (exit 71), an arena, and a
 * growing buffer. Sizes that come from a file or a stream are checked against a stated maximum by
 * the caller first.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* What the user can do where memory is short: the end of every such message. "" at first. text is
 * not copied. Called before any thread is started. */
void mem_hint(const char *text);
NORETURN void mem_die(size_t n); // "out of memory: n bytes", EXIT_SYSTEM
NORETURN void mem_die_product(size_t count, size_t size);

void *xmalloc(size_t n);                  // never NULL, n may be 0
void *xcalloc(size_t count, size_t size); // zeroed; overflow of the product is "no memory"
void *xreallocarray(void *p, size_t count, size_t size);
void *xaligned(size_t align, size_t n); // zeroed; align a power of two; freed with free()
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* a * b and a + b into *out; false on overflow. */
static inline bool mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

static inline size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* n rounded up to a multiple of `to`. The caller knows that the result fits in a size_t. */
static inline size_t round_up_size(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* A view of bytes, which it does not own and which need not end in NUL. */
struct str {
    const char *p;
    size_t n;
};

static inline struct str str_of(const char *s) {
    return (struct str){s, strlen(s)};
}
static inline bool str_eq(struct str a, const char *b) {
    return strlen(b) == a.n && (a.n == 0 || memcmp(a.p, b, a.n) == 0);
}
static inline bool str_same(struct str a, struct str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}
int str_compare(struct str a, struct str b); // by bytes, as strcmp
bool str_begins_with(struct str s, const char *start);
bool str_ends_with(struct str s, const char *end);
char *str_dup(struct str s); // NUL-terminated copy, owned by the caller
/* How many of s's bytes a message shows: the precision of "%.*s". A stranger's text may be long. */
int str_shown(struct str s);
/* Removes the first word of s, and the spaces around it, from s; n = 0 after the last word. */
struct str str_word(struct str *s);

/* A growing byte buffer. All zero is an empty one. p is NUL-terminated after buf_add*, for
 * printing. */
struct buf {
    char *p;
    size_t n;   // bytes in use
    size_t cap; // bytes allocated
};

void buf_reserve(struct buf *b, size_t more); // room for `more` bytes and a NUL after n
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_byte(struct buf *b, int byte);
void buf_str(struct buf *b, const char *s);
void buf_fmt(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_clear(struct buf *b); // n = 0; the memory is retained
void buf_free(struct buf *b);
static inline struct str buf_view(const struct buf *b) {
    return (struct str){b->p, b->n};
}

/* Memory that is freed all at once. An allocation never moves. All zero is an empty arena. */
struct arena {
    struct arena_block *blocks;
};

void *arena_alloc(struct arena *a, size_t n);                   // aligned for any type, zeroed
struct str arena_str(struct arena *a, const char *p, size_t n); // a copy, NUL-terminated after n
void arena_free(struct arena *a);

#endif
