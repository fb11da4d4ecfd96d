/* A trie of a vocabulary's token texts, to find all tokens that begin at a place.
 *
 * Children are found by one hash table for the whole trie: a step is one look-up. It grows with the
 * texts that are encoded: loading only lists tokens by their first bytes, and a list is entered
 * when a text has those bytes. What a program needs for a few lines is a small part of it. So each
 * encoder has its own.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_TRIE_H
#define TOKENS_TRIE_H

#include "tokens/vocab.h"

enum {
    TRIE_MAX_NODES = 1 << 24,
    TRIE_LEAD = 5, // bytes by which tokens are listed; shorter ones are one list more
    TRIE_LIST_BITS = 12,
    TRIE_LISTS = 1 << TRIE_LIST_BITS,
};

/* The tokens in lists: indices of entries + 1, 0 at the end. */
struct trie_lists {
    uint32_t heads[TRIE_LISTS], short_ones;
    uint32_t *next; // [vocab.count]
};

/* False where the trie could take more than TRIE_MAX_NODES nodes. */
bool trie_list(struct trie_lists *l, const struct vocab *v, struct region *mem);

struct trie_edge {
    uint32_t from_byte; // from << 8 | byte
    uint32_t to;        // 0, the root, which no edge leads to: free
};

struct trie {
    const struct vocab *vocab;
    uint32_t waiting[TRIE_LISTS]; // heads of the lists that have not been entered
    const uint32_t *next;         // those of the lists
    uint32_t *ids; // [n] of the token that ends at a node, or NO_ID; node 0 is the root
    uint32_t n;
    struct trie_edge *edges; // [mask + 1]
    size_t mask, cap;
    uint32_t first[256]; // the root's children, or 0
};

/* v and l must stay. Empty texts are left out. */
void trie_begin(struct trie *t, const struct vocab *v, const struct trie_lists *l);
void trie_enter(struct trie *t, size_t list);
void trie_free(struct trie *t);

static inline size_t trie_lead(const char *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return (size_t)((four | (uint64_t)(unsigned char)p[4] << 32) * 0x9E3779B97F4A7C15u >>
                    (64 - TRIE_LIST_BITS));
}

/* To be called before the first step from p, of n bytes. */
static inline void trie_ready(struct trie *t, const char *p, size_t n) {
    if (n >= TRIE_LEAD && t->waiting[trie_lead(p)])
        trie_enter(t, trie_lead(p));
}

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
