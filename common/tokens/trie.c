/* A trie of token texts: see trie.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/trie.h"

#include <stdlib.h>

static uint32_t add_node(struct trie *t, size_t *cap) {
    if (t->n == *cap) {
        *cap = *cap ? *cap * 2 : 1024;
        t->nodes = xreallocarray(t->nodes, *cap, sizeof *t->nodes);
    }
    t->nodes[t->n] = (struct trie_place){NO_ID};
    return t->n++;
}

static void put_edge(struct trie *t, uint64_t key, uint32_t to) {
    size_t i = trie_slot(key) & t->mask;
    while (t->edges[i].to != NO_ID)
        i = (i + 1) & t->mask;
    t->edges[i] = (struct trie_edge){key, to};
}

static void grow_edges(struct trie *t) {
    struct trie_edge *old = t->edges;
    size_t n_old = old ? t->mask + 1 : 0, n = n_old ? n_old * 2 : 4096;
    t->edges = xreallocarray(NULL, n, sizeof *t->edges);
    memset(t->edges, 0xFF, n * sizeof *t->edges);
    t->mask = n - 1;
    for (size_t i = 0; i < n_old; i++)
        if (old[i].to != NO_ID)
            put_edge(t, old[i].from_byte, old[i].to);
    free(old);
}

void trie_build(struct trie *t, const struct vocab *v) {
    size_t cap = 0;
    *t = (struct trie){0};
    memset(t->first, 0xFF, sizeof t->first);
    grow_edges(t);
    add_node(t, &cap);
    for (uint32_t k = 0; k < v->count; k++) {
        const struct vocab_entry *en = &v->entries[k];
        uint32_t at = 0;
        for (uint32_t i = 0; i < en->n; i++) {
            unsigned char byte = (unsigned char)en->p[i];
            uint32_t next = trie_step(t, at, byte);
            if (next == NO_ID) {
                next = add_node(t, &cap);
                if (at == 0)
                    t->first[byte] = next;
                else
                    put_edge(t, (uint64_t)at << 8 | byte, next);
                if ((size_t)t->n * 2 > t->mask)
                    grow_edges(t);
            }
            at = next;
        }
        if (at)
            t->nodes[at].id = en->id;
    }
}

void trie_free(struct trie *t) {
    free(t->nodes);
    free(t->edges);
}
