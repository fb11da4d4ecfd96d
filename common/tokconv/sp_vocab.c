/* Merges from the scores of a SentencePiece vocabulary: see sp_vocab.h.
 *
 * Every cut of every piece into two pieces is a merge. They are sorted by the piece's score, best
 * first; ties as the caller chooses.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/sp_vocab.h"

#include <math.h>
#include <stdlib.h>

#define MAX_MERGES (1u << 25)

/* A piece of n bytes has n - 1 cuts, each of which looks up n bytes. This bounds the quadratic
 * cost. */
enum { MAX_PIECE_BYTES = 1024 };

struct cut {
    double score;
    uint32_t piece, left, right; // ids
    uint32_t n_left, n_right;    // characters
    struct str left_text;
};

struct cuts {
    struct cut *items;
    size_t n, cap;
};

static bool inside(char byte) {
    return ((unsigned char)byte & 0xC0) == 0x80;
}

static int by_number(uint32_t a, uint32_t b) {
    return (a > b) - (a < b);
}

static int longer_first(const void *a, const void *b) {
    const struct cut *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->n_left != y->n_left)
        return x->n_left > y->n_left ? -1 : 1;
    if (x->n_right != y->n_right)
        return x->n_right > y->n_right ? -1 : 1;
    if (x->piece != y->piece)
        return by_number(x->piece, y->piece);
    return x->left != y->left ? by_number(x->left, y->left) : by_number(x->right, y->right);
}

static int text_order(const void *a, const void *b) {
    const struct cut *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    if (x->piece != y->piece)
        return by_number(x->piece, y->piece);
    // The left parts of one piece begin alike, so the shorter one is the smaller one.
    return (x->left_text.n > y->left_text.n) - (x->left_text.n < y->left_text.n);
}

/* Whether a piece takes part: as the result, or as a part. */
static bool may_result(const struct sp_vocab *v, uint32_t id, enum sp_order order) {
    return v->types[id] == SP_NORMAL ||
           (order == SP_LONGER_FIRST && v->types[id] == SP_USER_DEFINED);
}

static bool find_part(const struct sp_vocab *v, enum sp_order order, struct str text,
                      uint32_t *id) {
    return strmap_find(&v->ids, text, id) &&
           (order == SP_LONGER_FIRST || v->types[*id] == SP_NORMAL);
}

static int add_cuts(const struct sp_vocab *v, uint32_t id, enum sp_order order, struct cuts *c,
                    struct err *e) {
    struct str t = v->texts[id];
    if (isnan(v->scores[id]))
        return err_set(e, EXIT_DATA, "the score of token %u is not a number: %s", id, v->name);
    if (t.n > MAX_PIECE_BYTES)
        return err_set(e, EXIT_DATA, "token %u has %zu bytes, more than %d: %s", id, t.n,
                       MAX_PIECE_BYTES, v->name);
    uint32_t total = 0, n_left = 0;
    for (size_t at = 0; at < t.n; at++)
        total += !inside(t.p[at]);
    for (size_t at = 0; at < t.n; at++) {
        if (inside(t.p[at]))
            continue;
        struct cut cut = {.score = v->scores[id],
                          .piece = id,
                          .n_left = n_left,
                          .n_right = total - n_left,
                          .left_text = {t.p, at}};
        n_left++;
        if (at == 0 || !find_part(v, order, cut.left_text, &cut.left) ||
            !find_part(v, order, (struct str){t.p + at, t.n - at}, &cut.right))
            continue;
        if (c->n == MAX_MERGES)
            return err_set(e, EXIT_DATA, "more than %u merges: %s", MAX_MERGES, v->name);
        if (c->n == c->cap) {
            c->cap = c->cap ? c->cap * 2 : 65536;
            c->items = xreallocarray(c->items, c->cap, sizeof *c->items);
        }
        c->items[c->n++] = cut;
    }
    return 0;
}

int sp_merges(const struct sp_vocab *v, enum sp_order order, struct tokjson_merge **merges,
              size_t *n, struct err *e) {
    struct cuts c = {0};
    int rc = 0;
    for (uint32_t id = 0; id < v->n && rc == 0; id++)
        if (may_result(v, id, order))
            rc = add_cuts(v, id, order, &c, e);
    if (c.n)
        qsort(c.items, c.n, sizeof *c.items, order == SP_TEXT_ORDER ? text_order : longer_first);
    *merges = NULL;
    *n = rc == 0 ? c.n : 0;
    if (*n)
        *merges = xreallocarray(NULL, c.n, sizeof **merges);
    for (size_t i = 0; i < *n; i++)
        (*merges)[i] = (struct tokjson_merge){c.items[i].left, c.items[i].right};
    free(c.items);
    return rc;
}
