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

enum { BPE_INDEX_BITS = 24, BPE_MAX_MERGES = (1 << BPE_INDEX_BITS) - 1, BPE_GROUP = 8 };

struct bpe_group {
    uint32_t slots[BPE_GROUP];
};

/* The merges in order of rank, and a table to find one by its pair. A slot holds the merge's rank +
 * 1, and above it 8 bits of the pair's hash, not all 0; 0 is a free one. Slots are looked at in
 * groups, all of one at once and without branches that the processor would guess wrong; nearly
 * every look-up of a pair that does not merge is one group, and no more reads. */
struct bpe_merges {
    struct bpe_merge *list;  // [count] by rank
    struct bpe_group *slots; // [mask + 1], open addressing
    size_t mask;
    uint32_t count;
};

/* Reads ["a b", ...] or [["a", "b"], ...], the value that j stands before; both tokens of each
 * merge, and the one that it makes (right without prefix), must be in the vocabulary. Refused in j
 * otherwise. Of equal pairs the later one counts. The tables are taken from mem. */
void bpe_merges_load(struct bpe_merges *m, const struct vocab *v, struct str prefix, struct json *j,
                     struct region *mem);

static inline uint64_t bpe_hash(uint32_t left, uint32_t right) {
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static inline size_t bpe_group(const struct bpe_merges *m, uint64_t h) {
    return (size_t)h & m->mask;
}

static inline uint32_t bpe_tag(uint64_t h) {
    uint32_t tag = (uint32_t)(h >> 56);
    return (tag + !tag) << BPE_INDEX_BITS;
}

/* A bit for each slot of this tag, and one for each free slot. slots [BPE_GROUP]. */
static inline unsigned bpe_look(const uint32_t *slots, uint32_t tag, unsigned *vacant) {
#ifdef __SSE2__
    __m128i a = _mm_loadu_si128((const __m128i *)(const void *)slots),
            b = _mm_loadu_si128((const __m128i *)(const void *)(slots + 4));
    __m128i zero = _mm_setzero_si128(), t = _mm_set1_epi32((int)(tag >> BPE_INDEX_BITS));
    __m128i found = _mm_packs_epi32(_mm_cmpeq_epi32(_mm_srli_epi32(a, BPE_INDEX_BITS), t),
                                    _mm_cmpeq_epi32(_mm_srli_epi32(b, BPE_INDEX_BITS), t));
    __m128i none = _mm_packs_epi32(_mm_cmpeq_epi32(a, zero), _mm_cmpeq_epi32(b, zero));
    unsigned both = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(found, none));
    *vacant = both >> BPE_GROUP;
    return both & ((1u << BPE_GROUP) - 1);
#else
    unsigned found = 0, none = 0;
    for (unsigned i = 0; i < BPE_GROUP; i++) {
        found |= (unsigned)((slots[i] ^ tag) >> BPE_INDEX_BITS == 0) << i;
        none |= (unsigned)(slots[i] == 0) << i;
    }
    *vacant = none;
    return found;
#endif
}

/* The merge of two tokens, or NULL. */
static inline const struct bpe_merge *bpe_find(const struct bpe_merges *m, uint32_t left,
                                               uint32_t right) {
    uint64_t h = bpe_hash(left, right);
    uint32_t tag = bpe_tag(h);
    for (size_t i = bpe_group(m, h);; i = (i + 1) & m->mask) {
        const uint32_t *slots = m->slots[i].slots;
        unsigned vacant, found = bpe_look(slots, tag, &vacant);
        for (; found; found &= found - 1) {
            const struct bpe_merge *merge =
                &m->list[(slots[__builtin_ctz(found)] & BPE_MAX_MERGES) - 1];
            if (merge->left == left && merge->right == right)
                return merge;
        }
        if (vacant)
            return NULL;
    }
}

/* One symbol of a word: a token that is still to be merged. */
struct bpe_symbol {
    uint32_t id, len;    // bytes of the word; len 0: merged into the one before
    uint32_t prev, next; // NO_ID at the ends
};

/* Where the search for the next merge of a long word keeps its state. All zero is a good beginning.
 */
struct bpe_queue;

struct bpe_work {
    struct bpe_symbol *symbols; // [n]
    size_t n, cap;
    struct bpe_queue *queue;
    const unsigned char
        *bytes; // [n] where each symbol is the token of a byte, and byte_ranks is there; else NULL
    const uint32_t
        *byte_ranks; // [65536] the rank of the merge of each two such tokens, NO_ID for none
};

void bpe_work_free(struct bpe_work *w);

static inline void bpe_add(struct bpe_work *w, uint32_t id, size_t len) {
    if (w->n == w->cap) {
        w->cap = w->cap ? w->cap * 2 : 64;
        w->symbols = xreallocarray(w->symbols, w->cap, sizeof *w->symbols);
    }
    w->symbols[w->n++] = (struct bpe_symbol){.id = id, .len = (uint32_t)len};
}

/* Merges the symbols as the merges' ranks say, the lowest first, of equals the leftmost. What is
 * left are the symbols in the chain from symbols[0] along `next`. */
void bpe_merge_word(const struct bpe_merges *m, struct bpe_work *w);

#endif
