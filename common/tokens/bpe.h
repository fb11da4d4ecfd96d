/* Byte pair encoding, inside: the table of merges and the merging of one word.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_H
#define TOKENS_BPE_H

#include <stdint.h>

#include "base/mem.h"

struct bpe_merge {
    uint64_t pair;     // left id << 32 | right id; BPE_FREE where the slot is free
    uint32_t rank, id; // of the merge; of what it makes
};
#define BPE_FREE UINT64_MAX

struct bpe_merges {
    struct bpe_merge *slots; // [mask + 1], open addressing
    size_t mask;
    uint32_t count;          // merges in the list, so ranks are below it
};

static inline size_t bpe_slot(uint64_t pair) {
    uint64_t h = pair * 0x9E3779B97F4A7C15u;
    return (size_t)(h ^ h >> 32);
}

/* The merge of two tokens, or NULL. */
static inline const struct bpe_merge *bpe_find(const struct bpe_merges *m, uint32_t left, uint32_t right) {
    uint64_t pair = (uint64_t)left << 32 | right;
    for (size_t i = bpe_slot(pair) & m->mask;; i = (i + 1) & m->mask) {
        if (m->slots[i].pair == pair)
            return &m->slots[i];
        if (m->slots[i].pair == BPE_FREE)
            return NULL;
    }
}

/* One symbol of a word: a token that is still to be merged. */
struct bpe_symbol {
    uint32_t id, len;    // bytes of the word; len 0: merged into the one before
    uint32_t prev, next; // NO_ID at the ends
};

/* Where the search for the next merge of a long word keeps its state. All zero is a good beginning. */
struct bpe_queue;

struct bpe_work {
    struct bpe_symbol *symbols; // [n]
    size_t n, cap;
    struct bpe_queue *queue;
};

void bpe_work_free(struct bpe_work *w);

static inline void bpe_add(struct bpe_work *w, uint32_t id, size_t len) {
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 64;
        w->symbols = xreallocarray(w->symbols, w->cap, sizeof *w->symbols);
    }
    w->symbols[w->n++] = (struct bpe_symbol){.id = id, .len = (uint32_t)len};
}

/* Merges the symbols as the merges' ranks say, the lowest first, of equals the leftmost. What is left are the
 * symbols in the chain from symbols[0] along `next`. */
void bpe_merge_word(const struct bpe_merges *m, struct bpe_work *w);

#endif
