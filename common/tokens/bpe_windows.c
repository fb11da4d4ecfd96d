/* Merging a long word in windows.
 *
 * One queue for ten million bytes is exact, but slow: it walks through all of its memory once for
 * each rank. Windows are exact too. Call two tokens a stable pair if merging the text of the two
 * alone gives the two. Then a list of tokens is the result of merging its whole text if each two
 * neighbours are a stable pair. The proof: take the first merge in the whole text that would cross
 * a border between two of the tokens. Until then nothing outside has touched these two, so merging
 * their text alone would make the same merge.
 *
 *     abcdefgh          units of the word
 *     [ab][cd][e]       window 1, merged; its last token may be wrong without "f"
 *     [ab][cd]          take it back
 *     [ab][cd][efgh]    window 2 begins at "e"; check that [cd] and [efgh] are a stable pair
 *
 * Neighbours in one window are stable pairs. If a window's first token and the token before it are
 * none, more tokens are taken back. A word of ten million spaces repeats a few windows, so the
 * results of the last ones are cached.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/bpe_windows.h"

#include <stdlib.h>

enum {
    STEP = 24,         // new units in a window, at least
    TAKE_BACK = 1,     // tokens taken back at first
    MAX_WINDOW = 4096, // units
    N_RECENT = 4,      // windows whose results are cached
};

struct token {
    uint32_t id, units, bytes;
};

/* The tokens that some units were merged into. */
struct merged {
    size_t from, n_units;
    struct token *tokens; // [n]
    size_t n, cap;
};

struct windows {
    const struct bpe_merges *m;
    const struct bpe_units *u;
    struct token_ids *out;
    // The tokens so far, from unit 0 on. The next window begins at word.n_units.
    struct merged word;
    struct merged recent[N_RECENT]; // the last windows
    unsigned next;                  // the one to replace
    // The last stable pair that was found, and the number of its first unit.
    size_t pair_from;
    struct token pair[2];
    size_t at; // byte offset of the next token
};

static void merge(struct windows *x, struct bpe_work *w, size_t from, size_t n) {
    const struct bpe_units *u = x->u;
    w->n = 0;
    w->bytes = NULL;
    if (u->bytes) {
        const unsigned char *p = u->bytes + from;
        for (size_t i = 0; i < n; i++)
            bpe_add(w, u->byte_ids[p[i]], 1);
        w->bytes = u->byte_ranks ? p : NULL;
        w->byte_ranks = u->byte_ranks;
    } else {
        for (size_t i = from; i < from + n; i++)
            bpe_add(w, u->symbols[i].id, u->symbols[i].len);
    }
    bpe_merge_word(x->m, w);
}

static bool same_units(const struct bpe_units *u, size_t a, size_t b, size_t n) {
    if (u->bytes)
        return memcmp(u->bytes + a, u->bytes + b, n) == 0;
    for (size_t i = 0; i < n; i++)
        if (u->symbols[a + i].id != u->symbols[b + i].id ||
            u->symbols[a + i].len != u->symbols[b + i].len)
            return false;
    return true;
}

static bool same_token(const struct token *a, const struct token *b) {
    return a->id == b->id && a->units == b->units;
}

/* Whether left and right, whose first unit is `from`, are a stable pair. */
static bool is_stable(struct windows *x, struct bpe_work *w, size_t from, const struct token *left,
                      const struct token *right) {
    size_t n = (size_t)left->units + right->units;
    if (same_token(left, &x->pair[0]) && same_token(right, &x->pair[1]) &&
        same_units(x->u, from, x->pair_from, n))
        return true;
    merge(x, w, from, n);
    const struct bpe_symbol *s = w->symbols;
    if (s[0].id != left->id || s[0].next != left->units || s[s[0].next].id != right->id ||
        s[s[0].next].next != NO_ID)
        return false;
    x->pair_from = from;
    x->pair[0] = *left;
    x->pair[1] = *right;
    return true;
}

static void append(struct merged *list, struct token t) {
    if (list->n == list->cap) {
        list->cap = list->cap ? list->cap * 2 : 256;
        list->tokens = xreallocarray(list->tokens, list->cap, sizeof *list->tokens);
    }
    list->tokens[list->n++] = t;
    list->n_units += t.units;
}

static void add(struct windows *x, struct token t) {
    token_ids_add(x->out, t.id, x->at, x->at + t.bytes);
    append(&x->word, t);
    x->at += t.bytes;
}

static void take_back(struct windows *x, size_t n) {
    for (; n > 0 && x->word.n > 0; n--) {
        struct token t = x->word.tokens[--x->word.n];
        x->word.n_units -= t.units;
        x->at -= t.bytes;
        x->out->n--;
    }
}

/* Returns the tokens of the next n units. */
static const struct merged *merge_window(struct windows *x, struct bpe_work *w, size_t n) {
    size_t from = x->word.n_units;
    for (struct merged *k = x->recent; k < x->recent + N_RECENT; k++)
        if (n == k->n_units && same_units(x->u, from, k->from, n))
            return k;
    struct merged *window = &x->recent[x->next++ % N_RECENT];
    window->from = from;
    window->n = window->n_units = 0;
    merge(x, w, from, n);
    const struct bpe_symbol *s = w->symbols;
    for (uint32_t i = 0; i != NO_ID; i = s[i].next) {
        size_t end = s[i].next == NO_ID ? n : s[i].next;
        append(window, (struct token){s[i].id, (uint32_t)(end - i), s[i].len});
    }
    return window;
}

/* Appends the window of n units. False if its first token and the token before it are no stable
 * pair. */
static bool add_window(struct windows *x, struct bpe_work work[2], size_t n) {
    const struct merged *window = merge_window(x, &work[0], n);
    if (x->word.n) {
        const struct token *before = &x->word.tokens[x->word.n - 1];
        if (!is_stable(x, &work[1], x->word.n_units - before->units, before, &window->tokens[0]))
            return false;
    }
    for (size_t i = 0; i < window->n; i++)
        add(x, window->tokens[i]);
    return true;
}

bool bpe_windows(const struct bpe_merges *m, const struct bpe_units *u, struct bpe_work work[2],
                 size_t base, struct token_ids *out) {
    struct windows x = {.m = m, .u = u, .out = out, .at = base};
    size_t first = out->n;
    bool good = true;
    // end: the units that a window has included
    for (size_t end = 0; good && end < u->n;) {
        for (size_t back = TAKE_BACK;; back *= 2) {
            take_back(&x, back);
            size_t at = x.word.n_units, again = end - at,
                   n = again + (4 * again > STEP ? 4 * again : STEP);
            if (n > u->n - at)
                n = u->n - at;
            good = n <= MAX_WINDOW;
            if (!good)
                break;
            if (add_window(&x, work, n)) {
                end = x.word.n_units;
                break;
            }
        }
    }
    if (!good)
        out->n = first;
    free(x.word.tokens);
    for (int i = 0; i < N_RECENT; i++)
        free(x.recent[i].tokens);
    return good;
}
