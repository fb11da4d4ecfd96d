/* The order of nodes: see prefix_order.h.
 *
 * A treap: a search tree by key in which each node has a smaller weight than the node above it.
 * Weights are random, so the tree is about as deep as if the keys had come in random order, and
 * nobody can choose keys that make it deep.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/prefix_order.h"

struct key {
    uint32_t parent;
    const struct prefix_salt *salt;
    const uint32_t *ids; // [n]
    size_t n;
};

static struct key key_of(const struct prefix_node *n) {
    return (struct key){n->parent, &n->salt, n->ids, n->n};
}

/* Node i's: a permutation of 64 bits (that of SplitMix64) over its number and a random word. */
static uint64_t weight_of(const struct prefix_cache *k, uint32_t i) {
    uint64_t x = k->secret.word[0] ^ i;
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static size_t common_ids(const struct key *a, const struct key *b) {
    size_t i = 0;
    while (i < a->n && i < b->n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

/* Whether a comes before b. Ids that another's begin with come before it. */
static bool is_before(struct key a, struct key b) {
    if (a.parent != b.parent)
        return a.parent < b.parent;
    for (size_t w = 0; w < 2; w++)
        if (a.salt->word[w] != b.salt->word[w])
            return a.salt->word[w] < b.salt->word[w];
    size_t i = common_ids(&a, &b);
    return i < b.n && (i == a.n || a.ids[i] < b.ids[i]);
}

void prefix_order_add(struct prefix_cache *k, uint32_t i) {
    struct prefix_node *n = node_at(k, i);
    const struct key key = key_of(n);
    const uint64_t weight = weight_of(k, i);
    uint32_t *at = &k->order, *low = &n->low, *high = &n->high, below;
    while (*at != NO_NODE && weight_of(k, *at) > weight) {
        struct prefix_node *there = node_at(k, *at);
        at = is_before(key_of(there), key) ? &there->high : &there->low;
    }
    below = *at;
    *at = i;
    while (below != NO_NODE) { // what comes before i is put below n->low, the rest below n->high
        struct prefix_node *there = node_at(k, below);
        if (is_before(key_of(there), key)) {
            *low = below;
            low = &there->high;
            below = *low;
        } else {
            *high = below;
            high = &there->low;
            below = *high;
        }
    }
    *low = *high = NO_NODE;
}

void prefix_order_remove(struct prefix_cache *k, uint32_t i) {
    const struct prefix_node *n = node_at(k, i);
    uint32_t *at = &k->order, low = n->low, high = n->high;
    while (*at != i) {
        struct prefix_node *there = node_at(k, *at);
        at = is_before(key_of(there), key_of(n)) ? &there->high : &there->low;
    }
    while (low != NO_NODE && high != NO_NODE)
        if (weight_of(k, low) > weight_of(k, high)) {
            *at = low;
            at = &node_at(k, low)->high;
            low = *at;
        } else {
            *at = high;
            at = &node_at(k, high)->low;
            high = *at;
        }
    *at = low != NO_NODE ? low : high;
}

/* How many ids node i has in common with key; -1: it is none, or no sibling. */
static int64_t shared(const struct prefix_cache *k, uint32_t i, const struct key *key) {
    if (i == NO_NODE)
        return -1;
    const struct key other = key_of(node_at(k, i));
    if (other.parent != key->parent || !same_salt(other.salt, key->salt))
        return -1;
    return (int64_t)common_ids(&other, key);
}

uint32_t prefix_order_closest(const struct prefix_cache *k, const struct prefix_salt *salt,
                              uint32_t parent, const uint32_t *ids, size_t n, size_t *common) {
    const struct key key = {parent, salt, ids, n};
    uint32_t before = NO_NODE, after = NO_NODE;
    for (uint32_t i = k->order; i != NO_NODE;)
        if (is_before(key_of(node_at(k, i)), key)) {
            before = i;
            i = node_at(k, i)->high;
        } else {
            after = i;
            i = node_at(k, i)->low;
        }
    int64_t a = shared(k, before, &key), b = shared(k, after, &key), most = a >= b ? a : b;
    *common = most > 0 ? (size_t)most : 0;
    return most < 0 ? NO_NODE : a >= b ? before : after;
}
