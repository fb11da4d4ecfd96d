/* A trie of a vocabulary's token texts, to find all tokens that begin at a place.
 *
 * Children are found by one hash table for the whole trie: a step is one look-up.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_TRIE_H
#define TOKENS_TRIE_H

#include "tokens/vocab.h"

struct trie_edge {
    uint64_t from_byte; // from << 8 | byte
    uint32_t to;        // NO_ID: free
};

struct trie_place {
    uint32_t id; // of the token that ends here, or NO_ID
};

struct trie {
    struct trie_place *nodes; // [n], nodes[0] the root
    uint32_t n;
    struct trie_edge *edges; // [mask + 1]
    size_t mask;
    uint32_t first[256]; // the root's children
};

void trie_build(struct trie *t, const struct vocab *v); // empty texts are left out
void trie_free(struct trie *t);

static inline size_t trie_slot(uint64_t key) {
    uint64_t h = key * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 32);
}

/* The node behind `node` by one byte, or NO_ID. */
static inline uint32_t trie_step(const struct trie *t, uint32_t node, unsigned char byte) {
    if (node == 0)
        return t->first[byte];
    uint64_t key = (uint64_t)node << 8 | byte;
    for (size_t i = trie_slot(key) & t->mask;; i = (i + 1) & t->mask) {
        if (t->edges[i].from_byte == key && t->edges[i].to != NO_ID)
            return t->edges[i].to;
        if (t->edges[i].to == NO_ID)
            return NO_ID;
    }
}

#endif
