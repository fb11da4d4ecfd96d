/* Memory: see mem.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

static const char *hint = "";

void mem_hint(const char *text) {
    hint = text;
}

void mem_die(size_t n) {
    die(EXIT_SYSTEM, "out of memory: %zu bytes%s", n, hint);
}

void mem_die_product(size_t count, size_t size) {
    die(EXIT_SYSTEM, "out of memory: %zu times %zu bytes%s", count, size, hint);
}

static void *checked(void *p, size_t n) {
    if (!p)
        mem_die(n);
    return p;
}

void *xmalloc(size_t n) {
    return checked(malloc(n ? n : 1), n);
}

void *xcalloc(size_t count, size_t size) {
    void *p = calloc(count ? count : 1, size ? size : 1);
    if (!p)
        mem_die_product(count, size);
    return p;
}

void *xreallocarray(void *p, size_t count, size_t size) {
    size_t n;
    if (!mul_size(count, size, &n))
        mem_die_product(count, size);
    return checked(realloc(p, n ? n : 1), n);
}

void *xaligned(size_t align, size_t n) {
    void *p;
    if (posix_memalign(&p, align, n ? n : 1) != 0)
        mem_die(n);
    memset(p, 0, n ? n : 1);
    return p;
}

char *xstrndup(const char *s, size_t n) {
    char *copy = xmalloc(n + 1);
    if (n)
        memcpy(copy, s, n);
    copy[n] = '\0';
    return copy;
}

char *xstrdup(const char *s) {
    return xstrndup(s, strlen(s));
}

struct str str_word(struct str *s) {
    while (s->n && *s->p == ' ') {
        s->p++;
        s->n--;
    }
    struct str word = {s->p, 0};
    while (s->n && *s->p != ' ') {
        s->p++;
        s->n--;
        word.n++;
    }
    return word;
}

int str_compare(struct str a, struct str b) {
    size_t n = a.n < b.n ? a.n : b.n;
    int order = n ? memcmp(a.p, b.p, n) : 0;
    return order ? order : (a.n > b.n) - (a.n < b.n);
}

bool str_begins_with(struct str s, const char *start) {
    size_t n = strlen(start);
    return s.n >= n && (n == 0 || memcmp(s.p, start, n) == 0);
}

bool str_ends_with(struct str s, const char *end) {
    size_t n = strlen(end);
    return s.n >= n && (n == 0 || memcmp(s.p + s.n - n, end, n) == 0);
}

int str_shown(struct str s) {
    enum { SHOWN = 80 };
    return s.n < SHOWN ? (int)s.n : SHOWN;
}

char *str_dup(struct str s) {
    return xstrndup(s.p, s.n);
}

static void buf_vfmt(struct buf *b, const char *fmt, va_list ap) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        die(EXIT_BUG, "a format string is wrong");
    buf_reserve(b, (size_t)n);
    vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
    va_end(again);
    b->n += (size_t)n;
}

char *xasprintf(const char *fmt, ...) {
    struct buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    buf_vfmt(&b, fmt, ap);
    va_end(ap);
    return b.p;
}

void buf_reserve(struct buf *b, size_t more) {
    size_t need;
    if (!add_size(b->n, more, &need) || !add_size(need, 1, &need))
        mem_die(more);
    if (need <= b->cap)
        return;
    size_t cap = b->cap < 64 ? 64 : b->cap + b->cap / 2;
    if (cap < need)
        cap = need;
    b->p = xreallocarray(b->p, cap, 1);
    b->cap = cap;
}

void buf_add(struct buf *b, const void *bytes, size_t n) {
    buf_reserve(b, n);
    if (n)
        memcpy(b->p + b->n, bytes, n);
    b->n += n;
    b->p[b->n] = '\0';
}

void buf_byte(struct buf *b, int byte) {
    buf_reserve(b, 1);
    b->p[b->n++] = (char)byte;
    b->p[b->n] = '\0';
}

void buf_str(struct buf *b, const char *s) {
    buf_add(b, s, strlen(s));
}

void buf_fmt(struct buf *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    buf_vfmt(b, fmt, ap);
    va_end(ap);
}

void buf_clear(struct buf *b) {
    b->n = 0;
    if (b->p)
        b->p[0] = '\0';
}

void buf_free(struct buf *b) {
    free(b->p);
    *b = (struct buf){0};
}

#define ARENA_BLOCK 65536u
#define ARENA_ALIGN 16u

struct arena_block {
    struct arena_block *next;
    size_t used, cap; // bytes of data
    _Alignas(16) unsigned char data[];
};

void *arena_alloc(struct arena *a, size_t n) {
    if (n > SIZE_MAX - 2 * ARENA_BLOCK)
        mem_die(n);
    n = (n + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    struct arena_block *b = a->blocks;
    if (!b || b->cap - b->used < n) {
        size_t cap = n > ARENA_BLOCK ? n : ARENA_BLOCK;
        b = xcalloc(1, sizeof *b + cap);
        b->cap = cap;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

struct str arena_str(struct arena *a, const char *p, size_t n) {
    char *copy = arena_alloc(a, n + 1);
    if (n)
        memcpy(copy, p, n);
    return (struct str){copy, n};
}

void arena_free(struct arena *a) {
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    a->blocks = NULL;
}
