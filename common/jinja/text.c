/* Texts with the trust of each byte: see text.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/text.h"

#include "base/utf8.h"
#include "jinja/run.h"

struct jtext *jt_new(struct jinja *in, struct str s, enum jtrust trust) {
    struct jtext *t = jinja_alloc(in, sizeof *t);
    *t = (struct jtext){.p = s.p, .n = s.n, .trust = (uint8_t)trust};
    return t;
}

struct jtext *jt_slice(struct jinja *in, const struct jtext *t, size_t from, size_t to) {
    struct jtext *s = jinja_alloc(in, sizeof *s);
    to = to > t->n ? t->n : to;
    from = from > to ? to : from;
    *s = (struct jtext){.p = t->p + from, .n = to - from, .trust = t->trust, .markup = t->markup};
    if (t->trust == TRUST_MIXED)
        s->mask = t->mask + from;
    return s;
}

void jb_init(struct jbuild *b, struct jinja *in, size_t expected) {
    *b = (struct jbuild){.in = in};
    b->cap = expected < 32 ? 32 : expected;
    b->p = jinja_room(in, b->cap) ? jinja_alloc(in, b->cap) : NULL;
    if (!b->p)
        b->cap = 0;
}

/* Makes room for n more bytes. False if the rendering may use no more. */
static bool reserve(struct jbuild *b, size_t n) {
    if (n <= b->cap - b->n)
        return true;
    size_t cap = b->cap * 2 > b->n + n ? b->cap * 2 : b->n + n;
    if (b->n + n > JINJA_MAX_TEXT)
        jinja_fail(b->in, "the template makes a text of more than %zu bytes", JINJA_MAX_TEXT);
    if (b->in->failed || !jinja_room(b->in, b->mask ? cap * 2 : cap))
        return false;
    char *p = jinja_alloc(b->in, cap);
    if (b->n)
        memcpy(p, b->p, b->n);
    b->p = p;
    if (b->mask) {
        uint8_t *mask = jinja_alloc(b->in, cap);
        memcpy(mask, b->mask, b->n);
        b->mask = mask;
    }
    b->cap = cap;
    return true;
}

/* Gives the text a mask, in place of one word for all bytes. */
static bool make_mask(struct jbuild *b) {
    if (b->trust == TRUST_MIXED)
        return true;
    if (!jinja_room(b->in, b->cap))
        return false;
    b->mask = jinja_alloc(b->in, b->cap);
    memset(b->mask, b->trust == TRUST_ALL, b->n);
    b->trust = TRUST_MIXED;
    return true;
}

void jb_add(struct jbuild *b, const char *p, size_t n, bool trusted) {
    if (n == 0 || !reserve(b, n))
        return;
    enum jtrust trust = trusted ? TRUST_ALL : TRUST_NONE;
    if (b->n == 0 && !b->mask)
        b->trust = (uint8_t)trust;
    else if (b->trust != trust && !make_mask(b))
        return;
    memcpy(b->p + b->n, p, n);
    if (b->mask)
        memset(b->mask + b->n, trusted, n);
    b->n += n;
}

void jb_str(struct jbuild *b, const char *s, bool trusted) {
    jb_add(b, s, strlen(s), trusted);
}

void jb_slice(struct jbuild *b, const struct jtext *t, size_t from, size_t to) {
    if (t->trust != TRUST_MIXED) {
        jb_add(b, t->p + from, to - from, t->trust == TRUST_ALL);
        return;
    }
    if (from >= to || !reserve(b, to - from) || !make_mask(b))
        return;
    memcpy(b->p + b->n, t->p + from, to - from);
    memcpy(b->mask + b->n, t->mask + from, to - from);
    b->n += to - from;
}

void jb_text(struct jbuild *b, const struct jtext *t) {
    jb_slice(b, t, 0, t->n);
}

void jb_char(struct jbuild *b, uint32_t cp, bool trusted) {
    char utf8[4];
    jb_add(b, utf8, utf8_encode(cp, utf8), trusted);
}

void jb_fill(struct jbuild *b, const struct jtext *t, int64_t times) {
    size_t n;
    if (times <= 0 || t->n == 0)
        return;
    if (!mul_size(t->n, (size_t)times, &n) || !jinja_room(b->in, n)) {
        jinja_room(b->in, SIZE_MAX); // fails
        return;
    }
    if (!reserve(b, n) || !jinja_steps(b->in, n / 64))
        return;
    if (t->n == 1 && t->trust != TRUST_MIXED) {
        if (b->n == 0 && !b->mask)
            b->trust = t->trust;
        else if (b->trust != t->trust && !make_mask(b))
            return;
        memset(b->p + b->n, t->p[0], n);
        if (b->mask)
            memset(b->mask + b->n, t->trust == TRUST_ALL, n);
        b->n += n;
        return;
    }
    while (times-- > 0 && jinja_steps(b->in, 1))
        jb_text(b, t);
}

struct jtext *jb_done(struct jbuild *b) {
    struct jtext *t = jinja_alloc(b->in, sizeof *t);
    *t = (struct jtext){.p = b->p ? b->p : "", .n = b->n, .mask = b->mask, .trust = b->trust};
    return t;
}

struct jtext *jt_concat(struct jinja *in, const struct jtext *a, const struct jtext *b) {
    struct jbuild *sum = a->tail;
    if (!sum || sum->p + sum->n != a->p + a->n || a->p != sum->p) {
        sum = jinja_alloc(in, sizeof *sum);
        jb_init(sum, in, a->n + b->n);
        jb_text(sum, a);
    }
    // If the builder grows, it moves. Earlier sums keep the bytes at the old place.
    jb_text(sum, b);
    struct jtext *t = jb_done(sum);
    t->tail = sum;
    return t;
}

size_t jt_chars(struct jinja *in, const struct jtext *t) {
    size_t n = 0;
    jinja_steps(in, t->n / 16);
    for (size_t i = 0; i < t->n; i++)
        n += ((unsigned char)t->p[i] & 0xC0) != 0x80;
    return n;
}

size_t jt_byte_at(struct jinja *in, const struct jtext *t, size_t chars) {
    size_t i = 0;
    for (; i < t->n; i++)
        if (((unsigned char)t->p[i] & 0xC0) != 0x80 && chars-- == 0)
            break;
    jinja_steps(in, i / 16);
    return i;
}

uint32_t jt_decode(const struct jtext *t, size_t at, size_t *len) {
    uint32_t cp = 0xFFFD;
    *len = utf8_decode(t->p + at, t->n - at, &cp);
    if (*len == 0)
        *len = 1;
    return cp;
}

size_t jt_find(struct jinja *in, const struct jtext *t, struct str needle, size_t from, size_t to) {
    if (needle.n == 0)
        return from <= to ? from : SIZE_MAX;
    size_t i = from, found = SIZE_MAX;
    while (i + needle.n <= to) {
        const char *hit = memchr(t->p + i, needle.p[0], to - needle.n + 1 - i);
        if (!hit)
            break;
        i = (size_t)(hit - t->p);
        if (!jinja_steps(in, needle.n / 64))
            break;
        if (memcmp(hit, needle.p, needle.n) == 0) {
            found = i;
            break;
        }
        i++;
    }
    jinja_steps(in, ((found == SIZE_MAX ? to : found) - from) / 64);
    return found;
}

size_t jt_rfind(struct jinja *in, const struct jtext *t, struct str needle, size_t from,
                size_t to) {
    if (needle.n > to - from)
        return SIZE_MAX;
    jinja_steps(in, (to - from) / 64);
    for (size_t i = to - needle.n + 1; i-- > from;) {
        if (needle.n && t->p[i] != needle.p[0])
            continue;
        if (!jinja_steps(in, needle.n / 64))
            break;
        if (memcmp(t->p + i, needle.p, needle.n) == 0)
            return i;
    }
    return SIZE_MAX;
}

bool jt_is_space(uint32_t cp) {
    return (cp >= 0x09 && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x20) || cp == 0x85 || cp == 0xA0 ||
           cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 ||
           cp == 0x202F || cp == 0x205F || cp == 0x3000;
}

bool jt_is_line_end(uint32_t cp) {
    return (cp >= 0x0A && cp <= 0x0D) || (cp >= 0x1C && cp <= 0x1E) || cp == 0x85 || cp == 0x2028 ||
           cp == 0x2029;
}
