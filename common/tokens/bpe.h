/* Merging one word by byte pair encoding.
 *
 * A word is a chain of symbols. Each merge joins two neighbours, the pair with the lowest rank
 * first. The table of ranks is in bpe_merges.h, and the algorithm is in bpe_merge.c.
 *
 *     bpe_add(w, id, len) for each character of the word
 *     bpe_merge_word(merges, w)
 *     for (i = 0; i != NO_ID; i = w->symbols[i].next)
 *         w->symbols[i].id is a token of the result
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_H
#define TOKENS_BPE_H

#include <stdint.h>

#include "base/mem.h"
#include "tokens/bpe_merges.h"

/* One symbol of a word: a token that may still be merged. */
struct bpe_symbol {
    uint32_t id, len;    // len: bytes of the word; 0: merged into the symbol before
    uint32_t prev, next; // NO_ID at the ends
};

/* The state of the search for the next merge in a long word. */
struct bpe_queue;

/* The memory for merging words; it is reused. All zero is a valid empty one. */
struct bpe_work {
    struct bpe_symbol *symbols; // [n]
    size_t n, cap;
    struct bpe_queue *queue;
    // [n] the bytes of the word if each symbol is a byte's token and byte_ranks is set; else NULL.
    const unsigned char *bytes;
    // [65536] the rank of the merge of each two byte tokens, or NO_ID.
    const uint32_t *byte_ranks;
};

void bpe_work_free(struct bpe_work *w);

static inline void bpe_add(struct bpe_work *w, uint32_t id, size_t len) {
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 64;
        w->symbols = xreallocarray(w->symbols, w->cap, sizeof *w->symbols);
    }
    w->symbols[w->n++] = (struct bpe_symbol){.id = id, .len = (uint32_t)len};
}

/* Merges the symbols, the pair with the lowest rank first, and of several the leftmost. The result
 * is the chain from symbols[0] along `next`. */
void bpe_merge_word(const struct bpe_merges *m, struct bpe_work *w);

#endif
