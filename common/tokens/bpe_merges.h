/* The merges of a BPE model, and a table to find a merge by its pair.
 *
 *     "merges": ["l o", "e r", "lo w"]     rank 0 makes "lo", rank 1 "er", rank 2 "low"
 *
 * A slot of the table is 32 bits: 8 bits of the pair's hash, not all 0, and the rank + 1 below
 * them. 0 is a free slot. A group of 8 slots is compared at once, without branches that could be
 * mispredicted. Nearly every look-up of a pair that does not merge reads one group and nothing
 * else.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_MERGES_H
#define TOKENS_BPE_MERGES_H

#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/json.h"
#include "tokens/region.h"
#include "tokens/short_bytes.h"
#include "tokens/vocab.h"

struct bpe_merge {
    uint32_t left, right, made; // ids
};

enum { BPE_INDEX_BITS = 24, BPE_MAX_MERGES = (1 << BPE_INDEX_BITS) - 1, BPE_GROUP = 8 };

struct bpe_group {
    uint32_t slots[BPE_GROUP];
};

/* All merges of a model. */
struct bpe_merges {
    struct bpe_merge *list;  // [count] by rank
    struct bpe_group *slots; // [mask + 1], open addressing
    size_t mask;
    uint32_t count;
};

/* Reads ["a b", ...] or [["a", "b"], ...], the next value of j. Both tokens of a merge must be in
 * the vocabulary. So must the token that it makes: left, then right without `prefix`. Otherwise the
 * list is refused in j. Of equal pairs the later one counts. Tables are taken from mem. */
void bpe_merges_load(struct bpe_merges *m, const struct vocab *v, struct str prefix, struct json *j,
                     struct region *mem);

static inline uint64_t bpe_hash(uint32_t left, uint32_t right) {
    return bytes_mix(((uint64_t)left << 32 | right) ^ bytes_secret[0], bytes_secret[1]);
}

static inline size_t bpe_group(const struct bpe_merges *m, uint64_t h) {
    return (size_t)h & m->mask;
}

static inline uint32_t bpe_tag(uint64_t h) {
    uint32_t tag = (uint32_t)(h >> 56);
    return (tag + !tag) << BPE_INDEX_BITS;
}

/* Returns a bit for each slot with this tag, and in *vacant a bit for each free slot. slots
 * [BPE_GROUP]. */
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

/* Returns the merge of two tokens, or NULL. */
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

#endif
