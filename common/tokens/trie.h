/* A trie of a vocabulary's token texts, to find all tokens that begin at a place.
 *
 * Children are found by one hash table for the whole trie: a step is one look-up. It is kept small (8 bytes an edge, at most
 * three quarters full), because building it is most of the loading of a Unigram model, and what that costs is memory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_TRIE_H
#define TOKENS_TRIE_H

#include "tokens/vocab.h"

enum { TRIE_MAX_NODES = 1 << 24 };

struct trie_edge {
    uint32_t from_byte; // from << 8 | byte
    uint32_t to;        // 0, the root, which no edge leads to: free
};

struct trie_place {
    uint32_t id; // of the token that ends here, or NO_ID
};

struct trie {
    struct trie_place *nodes; // [n], nodes[0] the root
    uint32_t n;
    struct trie_edge *edges; // [mask + 1]
    size_t mask;
    uint32_t first[256]; // the root's children, or 0
};

/* Empty texts are left out. False, and t to be freed, where that takes more than TRIE_MAX_NODES nodes. */
bool trie_build(struct trie *t, const struct vocab *v);
void trie_free(struct trie *t);

static inline size_t trie_slot(uint32_t key) {
    return (size_t)(key * 0x9E3779B97F4A7C15u >> 32);
}

/* The edge from `node`, not the root, by one byte; or the free one where it belongs. */
static inline struct trie_edge *trie_find(const struct trie *t, uint32_t node, unsigned char byte) {
    uint32_t key = node << 8 | byte;
    size_t i = trie_slot(key) & t->mask;
    while (t->edges[i].to && t->edges[i].from_byte != key)
        i = (i + 1) & t->mask;
    return &t->edges[i];
}

/* The node behind `node` by one byte, or 0. */
static inline uint32_t trie_step(const struct trie *t, uint32_t node, unsigned char byte) {
    return node == 0 ? t->first[byte] : trie_find(t, node, byte)->to;
}

#endif
