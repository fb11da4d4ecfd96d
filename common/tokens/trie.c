/* A trie of token texts: see trie.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/trie.h"

#include <stdlib.h>

enum { BATCH = 16 };

static uint32_t add_node(struct trie *t, size_t *cap) {
    if (t->n == *cap) {
        *cap *= 2;
        t->nodes = xreallocarray(t->nodes, *cap, sizeof *t->nodes);
    }
    t->nodes[t->n] = (struct trie_place){NO_ID};
    return t->n++;
}

static void make_edges(struct trie *t, size_t slots) {
    t->edges = xcalloc(slots, sizeof *t->edges);
    t->mask = slots - 1;
}

static void grow_edges(struct trie *t) {
    struct trie_edge *old = t->edges;
    size_t n_old = t->mask + 1;
    make_edges(t, n_old * 2);
    for (size_t i = 0; i < n_old; i++)
        if (old[i].to)
            *trie_find(t, old[i].from_byte >> 8, (unsigned char)old[i].from_byte) = old[i];
    free(old);
}

/* The node behind `at` by one byte, made where there is none. */
static inline uint32_t step(struct trie *t, uint32_t at, unsigned char byte, size_t *cap) {
    struct trie_edge *edge = at ? trie_find(t, at, byte) : NULL;
    uint32_t to = at ? edge->to : t->first[byte];
    if (to)
        return to;
    to = add_node(t, cap);
    if (!at)
        t->first[byte] = to;
    else
        *edge = (struct trie_edge){at << 8 | byte, to};
    if (t->n > t->mask / 4 * 3)
        grow_edges(t);
    return to;
}

/* Adds n texts, a byte of each in turn: so their steps, each a wait for memory, overlap. */
static bool add_batch(struct trie *t, const struct vocab_entry *en, uint32_t n, size_t *cap) {
    uint32_t at[BATCH] = {0}, longest = 0;
    uint64_t bytes = 0;
    for (uint32_t k = 0; k < n; k++) {
        bytes += en[k].n;
        longest = en[k].n > longest ? en[k].n : longest;
    }
    if (bytes > TRIE_MAX_NODES - t->n)
        return false;
    for (uint32_t i = 0; i < longest; i++)
        for (uint32_t k = 0; k < n; k++)
            if (i < en[k].n)
                at[k] = step(t, at[k], (unsigned char)en[k].p[i], cap);
    for (uint32_t k = 0; k < n; k++)
        if (at[k])
            t->nodes[at[k]].id = en[k].id;
    return true;
}

bool trie_build(struct trie *t, const struct vocab *v) {
    size_t slots = 4096, cap = 1024;
    *t = (struct trie){0};
    while (slots < (size_t)v->count * 3) // about what words of a language take
        slots *= 2;
    while (cap < v->count)
        cap *= 2;
    make_edges(t, slots);
    t->nodes = xreallocarray(NULL, cap, sizeof *t->nodes);
    add_node(t, &cap);
    for (uint32_t k = 0; k < v->count; k += BATCH)
        if (!add_batch(t, v->entries + k, v->count - k < BATCH ? v->count - k : BATCH, &cap))
            return false;
    return true;
}

void trie_free(struct trie *t) {
    free(t->nodes);
    free(t->edges);
}
