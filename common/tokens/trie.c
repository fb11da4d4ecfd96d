/* Building the trie of token texts: see trie.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/trie.h"

#include <stdlib.h>

enum { BATCH = 16 };

bool trie_list(struct trie_lists *l, const struct vocab *v, struct region *mem) {
    uint64_t bytes = 1;
    l->next = region_take(mem, v->count * sizeof *l->next);
    for (uint32_t k = 0; k < v->count; k++) {
        const struct vocab_entry *en = &v->entries[k];
        uint32_t *head = en->n < TRIE_LEAD ? &l->short_ones : &l->heads[trie_lead(en->p)];
        l->next[k] = *head;
        *head = k + 1;
        bytes += en->n;
    }
    return bytes <= TRIE_MAX_NODES;
}

static uint32_t add_node(struct trie *t) {
    if (t->n == t->cap) {
        t->cap *= 2;
        t->ids = xreallocarray(t->ids, t->cap, sizeof *t->ids);
    }
    t->ids[t->n] = NO_ID;
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

/* Returns the node after `at` along this byte, which it adds if there is none. */
static inline uint32_t step(struct trie *t, uint32_t at, unsigned char byte) {
    struct trie_edge *edge = at ? trie_find(t, at, byte) : NULL;
    uint32_t to = at ? edge->to : t->first[byte];
    if (to)
        return to;
    to = add_node(t);
    if (!at)
        t->first[byte] = to;
    else
        *edge = (struct trie_edge){at << 8 | byte, to};
    if (t->n > t->mask / 4 * 3)
        grow_edges(t);
    return to;
}

/* Adds n texts, one byte of each in turn. Each step waits for memory; this way the waits
 * overlap. */
static void add_batch(struct trie *t, const struct vocab_entry *const *en, size_t n) {
    uint32_t at[BATCH] = {0}, longest = 0;
    for (size_t k = 0; k < n; k++)
        longest = en[k]->n > longest ? en[k]->n : longest;
    for (uint32_t i = 0; i < longest; i++)
        for (size_t k = 0; k < n; k++)
            if (i < en[k]->n)
                at[k] = step(t, at[k], (unsigned char)en[k]->p[i]);
    for (size_t k = 0; k < n; k++)
        if (at[k])
            t->ids[at[k]] = en[k]->id;
}

static void add_list(struct trie *t, uint32_t head) {
    const struct vocab_entry *batch[BATCH];
    while (head) {
        size_t n = 0;
        for (; head && n < BATCH; head = t->next[head - 1])
            batch[n++] = &t->vocab->entries[head - 1];
        add_batch(t, batch, n);
    }
}

void trie_begin(struct trie *t, const struct vocab *v, const struct trie_lists *l) {
    *t = (struct trie){.vocab = v, .next = l->next, .cap = 4096};
    memcpy(t->waiting, l->heads, sizeof t->waiting);
    make_edges(t, 8192);
    t->ids = xreallocarray(NULL, t->cap, sizeof *t->ids);
    add_node(t);
    add_list(t, l->short_ones);
}

void trie_enter(struct trie *t, size_t list) {
    uint32_t head = t->waiting[list];
    t->waiting[list] = 0;
    add_list(t, head);
}

void trie_free(struct trie *t) {
    free(t->ids);
    free(t->edges);
}
