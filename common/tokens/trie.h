/* A trie of a vocabulary's token texts, to find all tokens that begin at a place in a text.
 *
 * All edges are in one hash table, so a step from node to node is one look-up. The trie grows with
 * the texts that are encoded. Loading only sorts the tokens into lists by a hash of their first 5
 * bytes. A list is added to the trie when a text has those bytes, so a short text needs a small
 * part of the vocabulary. Because it grows, each encoder has a trie of its own.
 *
 *     trie_ready(t, p, n);                     add the list of p's first bytes
 *     for (node = 0; (node = trie_step(t, node, *p)); p++)
 *         if (t->ids[node] != NO_ID) ...       a token ends here
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_TRIE_H
#define TOKENS_TRIE_H

#include "tokens/short_bytes.h"
#include "tokens/vocab.h"

enum {
    TRIE_MAX_NODES = 1 << 24,
    TRIE_LEAD = 5, // bytes that choose a token's list; shorter tokens are in a list of their own
    TRIE_LIST_BITS = 12,
    TRIE_LISTS = 1 << TRIE_LIST_BITS,
};

/* Linked lists of tokens. A link is the index of an entry + 1, and 0 ends a list. */
struct trie_lists {
    uint32_t heads[TRIE_LISTS], short_ones;
    uint32_t *next; // [vocab.count]
};

/* Sorts v's tokens into lists. False if the trie could need more than TRIE_MAX_NODES nodes. */
bool trie_list(struct trie_lists *l, const struct vocab *v, struct region *mem);

struct trie_edge {
    uint32_t from_byte; // from << 8 | byte
    uint32_t to;        // 0 marks a free slot: no edge leads to the root, node 0
};

struct trie {
    const struct vocab *vocab;
    uint32_t waiting[TRIE_LISTS]; // heads of the lists that are not in the trie yet
    const uint32_t *next;         // trie_lists.next
    uint32_t *ids; // [n] id of the token that ends at a node, or NO_ID; node 0 is the root
    uint32_t n;
    struct trie_edge *edges; // [mask + 1]
    size_t mask, cap;
    uint32_t first[256]; // the root's children, or 0
};

/* Starts a trie with the short tokens. v and l must outlive it. Empty texts are left out. */
void trie_begin(struct trie *t, const struct vocab *v, const struct trie_lists *l);
void trie_enter(struct trie *t, size_t list);
void trie_free(struct trie *t);

static inline size_t trie_lead(const char *p) {
    uint32_t four;
    memcpy(&four, p, sizeof four);
    return (size_t)((four | (uint64_t)(unsigned char)p[4] << 32) * 0x9E3779B97F4A7C15u >>
                    (64 - TRIE_LIST_BITS));
}

/* Call this before the first step from p, which has n bytes. */
static inline void trie_ready(struct trie *t, const char *p, size_t n) {
    if (n >= TRIE_LEAD && t->waiting[trie_lead(p)])
        trie_enter(t, trie_lead(p));
}

static inline size_t trie_slot(uint32_t key) {
    return (size_t)bytes_mix(key ^ bytes_secret[0], bytes_secret[1]);
}

/* Returns the edge from `node`, which is not the root, along this byte; or the free slot for it. */
static inline struct trie_edge *trie_find(const struct trie *t, uint32_t node, unsigned char byte) {
    uint32_t key = node << 8 | byte;
    size_t i = trie_slot(key) & t->mask;
    while (t->edges[i].to && t->edges[i].from_byte != key)
        i = (i + 1) & t->mask;
    return &t->edges[i];
}

/* Returns the node after `node` along this byte, or 0. */
static inline uint32_t trie_step(const struct trie *t, uint32_t node, unsigned char byte) {
    return node == 0 ? t->first[byte] : trie_find(t, node, byte)->to;
}

#endif
