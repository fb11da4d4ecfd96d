/* Merging a long word in windows.
 *
 * A queue of all pairs of ten million bytes is exact, and slow: it walks all of its memory once for each rank. Windows are
 * exact too, by this: tokens that follow each other are what merging makes of their whole text if for each two neighbours, those
 * two are what merging makes of their text alone. (Look at the first merge in the whole text that would cross a border
 * between two of the tokens. Until then nothing outside has touched these two, so merging them alone would come to it
 * as well.) The tokens of a merged window fulfil it among themselves. So a window is merged, its last tokens, which may be
 * wrong for want of what follows, are taken back, and the next window begins with them; where its first token does not go
 * with the one before it, more is taken back.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/bpe_windows.h"

#include <stdlib.h>

enum {
    STEP = 24,         // new bytes of a window, at least
    TAKE_BACK = 1,     // tokens
    MAX_WINDOW = 4096, // bytes
};

static void merge(const struct bpe_merges *m, const uint32_t *byte_ids, struct bpe_work *w, const char *p, size_t n) {
    w->n = 0;
    for (size_t i = 0; i < n; i++)
        bpe_add(w, byte_ids[(unsigned char)p[i]], 1);
    bpe_merge_word(m, w);
}

/* Whether merging the text of these two tokens, of len bytes from p on, gives these two. */
static bool go_together(const struct bpe_merges *m, const uint32_t *byte_ids, struct bpe_work *w, const char *p, size_t len,
                        uint32_t left, uint32_t right) {
    merge(m, byte_ids, w, p, len);
    const struct bpe_symbol *s = w->symbols;
    return s[0].id == left && s[0].next != NO_ID && s[s[0].next].id == right && s[s[0].next].next == NO_ID;
}

struct windows {
    struct str word;
    struct token_ids *out;
    size_t first;   // out->n before
    uint32_t *lens; // [out->n - first] of the tokens so far
    size_t cap, at; // at: bytes of the word that they cover
};

static void add(struct windows *x, uint32_t id, uint32_t len, size_t base) {
    size_t n = x->out->n - x->first;
    if (n == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 1024;
        x->lens = xreallocarray(x->lens, x->cap, sizeof *x->lens);
    }
    x->lens[n] = len;
    token_ids_add(x->out, id, base + x->at, base + x->at + len);
    x->at += len;
}

static void take_back(struct windows *x, size_t n) {
    for (; n > 0 && x->out->n > x->first; n--)
        x->at -= x->lens[--x->out->n - x->first];
}

/* Takes the window of n bytes on; false where its first token does not go with the one before. */
static bool add_window(struct windows *x, const struct bpe_merges *m, const uint32_t *byte_ids, struct bpe_work work[2], size_t n,
                       size_t base) {
    struct bpe_work *w = &work[0];
    const char *p = x->word.p + x->at;
    size_t have = x->out->n - x->first;
    merge(m, byte_ids, w, p, n);
    if (have) {
        uint32_t before = x->lens[have - 1], len = w->symbols[0].len;
        if (!go_together(m, byte_ids, &work[1], p - before, before + len, x->out->ids[x->out->n - 1], w->symbols[0].id))
            return false;
    }
    for (uint32_t i = 0; i != NO_ID; i = w->symbols[i].next)
        add(x, w->symbols[i].id, w->symbols[i].len, base);
    return true;
}

bool bpe_windows(const struct bpe_merges *m, const uint32_t byte_ids[256], struct bpe_work work[2], struct str word,
                 size_t base, struct token_ids *out) {
    struct windows x = {.word = word, .out = out, .first = out->n};
    bool good = true;
    for (size_t end = 0; good && end < word.n;) { // end: of the bytes that a window has held
        for (size_t back = TAKE_BACK;; back *= 2) {
            take_back(&x, back);
            size_t again = end - x.at, n = again + (4 * again > STEP ? 4 * again : STEP);
            if (n > word.n - x.at)
                n = word.n - x.at;
            good = n <= MAX_WINDOW;
            if (!good)
                break;
            if (add_window(&x, m, byte_ids, work, n, base)) {
                end = x.at;
                break;
            }
        }
    }
    if (!good)
        out->n = x.first;
    free(x.lens);
    return good;
}
