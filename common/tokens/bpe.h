/* Byte pair encoding, inside: the table of merges and the merging of one word.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_H
#define TOKENS_BPE_H

#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"
#include "tokens/vocab.h"

struct bpe_merge {
    uint32_t left, right, made; // ids
};

enum { BPE_INDEX_BITS = 24, BPE_MAX_MERGES = (1 << BPE_INDEX_BITS) - 1 };

/* The merges in order of rank, and a table to find one by its pair. A slot holds the merge's rank + 1, and above it 8 bits
 * of the pair's hash, so that nearly every look-up of a pair that does not merge is one read. */
struct bpe_merges {
    struct bpe_merge *list; // [count] by rank
    uint32_t *slots;        // [mask + 1], open addressing; 0 is a free one
    size_t mask, cap;
    uint32_t count;
};

/* Reads ["a b", ...] or [["a", "b"], ...], the value that j stands before; both tokens of each merge, and the one that it
 * makes (right without prefix), must be in the vocabulary. Refused in j otherwise. Of equal pairs the later one counts. */
void bpe_merges_load(struct bpe_merges *m, const struct vocab *v, struct str prefix, struct json *j);
void bpe_merges_free(struct bpe_merges *m);

static inline uint64_t bpe_hash(uint32_t left, uint32_t right) {
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

/* The merge of two tokens, or NULL. */
static inline const struct bpe_merge *bpe_find(const struct bpe_merges *m, uint32_t left, uint32_t right) {
    uint64_t h = bpe_hash(left, right);
    for (size_t i = (size_t)h & m->mask;; i = (i + 1) & m->mask) {
        uint32_t slot = m->slots[i];
        if (slot == 0)
            return NULL;
        if (slot >> BPE_INDEX_BITS != h >> 56)
            continue;
        const struct bpe_merge *found = &m->list[(slot & BPE_MAX_MERGES) - 1];
        if (found->left == left && found->right == right)
            return found;
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
