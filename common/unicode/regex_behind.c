/* Look-behind of variable length: see regex_behind.h.
 *
 * "a{1,2}b?" becomes "a|ab", which matches at the same places. A repetition at the left needs only
 * its least count, because a text that ends in more of it ends in fewer too. Any other repetition
 * becomes one alternative for each count. Groups become alternatives in the same way.
 * Not supported: unbounded repetition that is not at the left, possessive quantifiers, options,
 * references to groups, and more than MOST alternatives.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "unicode/regex_behind.h"

#include <stdint.h>
#include <stdlib.h>

enum { MOST = 64, MOST_BYTES = 4096, DEEPEST = 20 };

struct alts {
    struct buf list[MOST];
    size_t n;
};

struct behind {
    struct str in;
    size_t at;
    bool varies; // a quantifier or a group was rewritten
    int depth;
};

static void alts_free(struct alts *a) {
    for (size_t i = 0; i < a->n; i++)
        buf_free(&a->list[i]);
    free(a);
}

static bool add(struct alts *a, struct str left, struct str right) {
    if (a->n == MOST || left.n + right.n > MOST_BYTES)
        return false;
    struct buf *b = &a->list[a->n++];
    *b = (struct buf){0};
    buf_str(b, "");
    buf_add(b, left.p, left.n);
    buf_add(b, right.p, right.n);
    return true;
}

static bool add_all(struct alts *to, const struct alts *from) {
    for (size_t i = 0; i < from->n; i++)
        if (!add(to, buf_view(&from->list[i]), (struct str){0}))
            return false;
    return true;
}

/* Appends each of `items`, min to max times, to each of *a. */
static bool append(struct alts **a, const struct alts *items, size_t min, size_t max) {
    struct alts *done = xcalloc(1, sizeof *done), *now = *a;
    bool good = true;
    for (size_t k = 0; k <= max && good; k++) {
        good = k < min || add_all(done, now);
        if (k == max || !good)
            break;
        struct alts *next = xcalloc(1, sizeof *next);
        for (size_t i = 0; i < now->n && good; i++)
            for (size_t m = 0; m < items->n && good; m++)
                good = add(next, buf_view(&now->list[i]), buf_view(&items->list[m]));
        alts_free(now);
        now = next;
    }
    alts_free(now);
    *a = done;
    return good;
}

static int peek(const struct behind *b, size_t ahead) {
    return b->at + ahead < b->in.n ? (unsigned char)b->in.p[b->at + ahead] : -1;
}

/* Skips a character, an escape or a class. False for a reference, whose text is not known. */
static bool step(struct behind *b) {
    if (peek(b, 0) == '\\') {
        int c = peek(b, 1);
        if (c < 0 || (c >= '0' && c <= '9') || c == 'k' || c == 'g' || c == 'K' || c == 'R' ||
            c == 'X')
            return false;
        const char *end = peek(b, 2) == '{' ? memchr(b->in.p + b->at, '}', b->in.n - b->at) : NULL;
        b->at = end ? (size_t)(end - b->in.p) + 1 : b->at + 2;
        return true;
    }
    if (peek(b, 0) == '[') {
        for (b->at++; peek(b, 0) != ']'; b->at += peek(b, 0) == '\\' ? 2 : 1)
            if (b->at >= b->in.n || peek(b, 0) == '[')
                return false;
        b->at++;
        return true;
    }
    for (b->at++; (peek(b, 0) & 0xC0) == 0x80 && peek(b, 0) != -1; b->at++)
        ;
    return true;
}

/* Reads the quantifier at b->at, if there is one. False if it is not supported. */
static bool read_count(struct behind *b, size_t *min, size_t *max) {
    int c = peek(b, 0);
    *min = *max = 1;
    if (c == '?' || c == '*' || c == '+') {
        *min = c == '+';
        *max = c == '?' ? 1 : SIZE_MAX;
        b->at++;
    } else if (c == '{') {
        size_t n[2] = {0, 0}, k = 0;
        bool second = false;
        for (b->at++; (c = peek(b, 0)) != '}'; b->at++)
            if (c == ',' && !k)
                k = 1;
            else if (c < '0' || c > '9' || n[k] > 1000)
                return false;
            else {
                n[k] = n[k] * 10 + (size_t)(c - '0');
                second |= k == 1;
            }
        b->at++;
        *min = n[0];
        *max = !k ? n[0] : second ? n[1] : SIZE_MAX;
    } else {
        return true;
    }
    b->varies |= *min != *max;
    b->at += peek(b, 0) == '?'; // lazy or not: the order of the counts does not matter
    c = peek(b, 0);
    return c != '+' && c != '*' && c != '?' && c != '{' && *min <= *max;
}

static bool alternatives(struct behind *b, bool left, struct alts *out);

/* Reads the group at b->at. A look-around has no length and is copied. */
static bool group(struct behind *b, bool left, struct alts *items) {
    size_t from = b->at;
    bool plain = peek(b, 1) == '?' && peek(b, 2) == ':';
    bool look =
        peek(b, 1) == '?' && (peek(b, 2) == '=' || peek(b, 2) == '!' ||
                              (peek(b, 2) == '<' && (peek(b, 3) == '=' || peek(b, 3) == '!')));
    bool boundary = plain && b->in.n - b->at > 6 &&
                    memcmp(b->in.p + b->at, "(?:(?<", 6) == 0; // Oniguruma finds it differently
    if ((!plain && !look) || boundary)
        return false;
    if (plain) {
        b->at += 3;
        b->varies = true;
        if (!alternatives(b, left, items) || peek(b, 0) != ')')
            return false;
        b->at++;
        return true;
    }
    for (size_t open = 0; open || b->at == from;) {
        int c = peek(b, 0);
        if (c < 0)
            return false;
        open += c == '(';
        open -= c == ')';
        if (!step(b))
            return false;
    }
    return add(items, (struct str){b->in.p + from, b->at - from}, (struct str){0});
}

/* Reads one alternative, up to '|', ')' or the end. */
static bool sequence(struct behind *b, bool left, struct alts *out) {
    struct alts *all = xcalloc(1, sizeof *all);
    bool good = add(all, (struct str){0}, (struct str){0});
    while (good && b->at < b->in.n && peek(b, 0) != '|' && peek(b, 0) != ')') {
        struct alts *items = xcalloc(1, sizeof *items);
        size_t from = b->at, min, max;
        if (peek(b, 0) == '(')
            good = group(b, left, items);
        else
            good =
                step(b) && add(items, (struct str){b->in.p + from, b->at - from}, (struct str){0});
        good = good && read_count(b, &min, &max);
        if (good && left && b->in.p[from] == '(' && min > 1) { // only the first copy is at the left
            alts_free(items);
            items = xcalloc(1, sizeof *items);
            b->at = from;
            good = group(b, false, items) && read_count(b, &min, &max);
        }
        good = good && (left || max != SIZE_MAX) && append(&all, items, min, left ? min : max);
        left = false;
        alts_free(items);
    }
    good = good && add_all(out, all);
    alts_free(all);
    return good;
}

static bool alternatives(struct behind *b, bool left, struct alts *out) {
    bool good = ++b->depth < DEEPEST && sequence(b, left, out);
    while (good && peek(b, 0) == '|') {
        b->at++;
        good = sequence(b, left, out);
    }
    b->depth--;
    return good;
}

bool regex_behind(struct str body, struct buf *out) {
    struct behind b = {body, 0, false, 0};
    struct alts *a = xcalloc(1, sizeof *a);
    bool good = alternatives(&b, true, a) && b.at == body.n && b.varies;
    for (size_t i = 0; i < a->n && good; i++) {
        buf_str(out, i ? "|" : "");
        buf_add(out, a->list[i].p, a->list[i].n);
    }
    alts_free(a);
    return good;
}
