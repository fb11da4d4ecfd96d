/* Ranks to a vocabulary and merges: see ranks.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokconv/ranks.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/utf8.h"
#include "tokens/bytechars.h"

#define MAX_MERGES (1u << 25)

/* A token of n bytes has n - 1 cuts, each of which looks up n bytes. This bounds the quadratic
 * cost. */
enum { MAX_TOKEN_BYTES = 1024 };

int ranks_add(struct ranks *r, struct str base64, uint64_t rank, const char *where, struct err *e) {
    size_t start = r->bytes.n;
    if (r->n == TOKJSON_MAX_TOKENS || rank >= TOKJSON_MAX_TOKENS)
        return err_set(e, EXIT_DATA, "more than %u tokens: %s: %s", TOKJSON_MAX_TOKENS, r->name,
                       where);
    if (base64.n > MAX_TOKEN_BYTES * 4 / 3 + 4)
        return err_set(e, EXIT_DATA, "a token has more than %d bytes: %s: %s", MAX_TOKEN_BYTES,
                       r->name, where);
    if (!base64_decode(base64, &r->bytes) || r->bytes.n == start)
        return err_set(e, EXIT_DATA, "'%.*s' is not a token in base64: %s: %s", str_shown(base64),
                       base64.p ? base64.p : "", r->name, where);
    if (r->n == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 65536;
        r->ends = xreallocarray(r->ends, r->cap, sizeof *r->ends);
        r->ranks = xreallocarray(r->ranks, r->cap, sizeof *r->ranks);
    }
    r->ends[r->n] = r->bytes.n;
    r->ranks[r->n++] = (uint32_t)rank;
    return 0;
}

void ranks_free(struct ranks *r) {
    buf_free(&r->bytes);
    free(r->ends);
    free(r->ranks);
    *r = (struct ranks){0};
}

static struct str token(const struct ranks *r, size_t i) {
    size_t start = i ? r->ends[i - 1] : 0;
    return (struct str){r->bytes.p + start, r->ends[i] - start};
}

static struct str spelled(struct tokbuild *b, struct str bytes) {
    char text[2 * MAX_TOKEN_BYTES + 4];
    size_t n = 0;
    for (size_t i = 0; i < bytes.n; i++)
        n += utf8_encode(bytechar((unsigned char)bytes.p[i]), text + n);
    return arena_str(&b->arena, text, n);
}

struct rank_cut {
    uint32_t rank, left_rank, right_rank;
    uint32_t left, right; // indices into the tokens of r
};

struct rank_cuts {
    struct rank_cut *items;
    size_t n, cap;
};

static int by_rank(const void *a, const void *b) {
    const struct rank_cut *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    if (x->left_rank != y->left_rank)
        return x->left_rank < y->left_rank ? -1 : 1;
    return (x->right_rank > y->right_rank) - (x->right_rank < y->right_rank);
}

static int add_cuts(const struct ranks *r, size_t i, const struct strmap *map, struct rank_cuts *c,
                    struct err *e) {
    struct str t = token(r, i);
    for (size_t at = 1; at < t.n; at++) {
        uint32_t left, right;
        if (!strmap_find(map, (struct str){t.p, at}, &left) ||
            !strmap_find(map, (struct str){t.p + at, t.n - at}, &right))
            continue;
        if (c->n == MAX_MERGES)
            return err_set(e, EXIT_DATA, "more than %u merges: %s", MAX_MERGES, r->name);
        if (c->n == c->cap) {
            c->cap = c->cap ? c->cap * 2 : 65536;
            c->items = xreallocarray(c->items, c->cap, sizeof *c->items);
        }
        c->items[c->n++] =
            (struct rank_cut){r->ranks[i], r->ranks[left], r->ranks[right], left, right};
    }
    return 0;
}

static int all_cuts(const struct ranks *r, size_t n, struct rank_cuts *c, struct err *e) {
    struct strmap map;
    int rc = 0;
    strmap_init(&map, n);
    for (size_t i = 0; i < n && rc == 0; i++)
        if (!strmap_add(&map, token(r, i), (uint32_t)i))
            rc = err_set(e, EXIT_DATA, "the token of rank %" PRIu32 " is there twice: %s",
                         r->ranks[i], r->name);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_cuts(r, i, &map, c, e);
    strmap_free(&map);
    return rc;
}

int ranks_build(const struct ranks *r, size_t n, uint32_t first_id, struct tokbuild *b,
                struct err *e) {
    uint32_t first = (uint32_t)b->json.n_tokens; // where the tokens begin in b
    struct rank_cuts c = {0};
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = tokbuild_token(b, spelled(b, token(r, i)), first_id + r->ranks[i], 0, e);
    if (rc == 0)
        rc = all_cuts(r, n, &c, e);
    if (rc == 0 && c.n) {
        qsort(c.items, c.n, sizeof *c.items, by_rank);
        b->merges = xreallocarray(NULL, c.n, sizeof *b->merges);
        for (size_t i = 0; i < c.n; i++)
            b->merges[i] =
                (struct tokjson_merge){first + c.items[i].left, first + c.items[i].right};
        b->json.merges = b->merges;
        b->json.n_merges = c.n;
    }
    free(c.items);
    b->json.ignore_merges = true;
    return rc;
}
