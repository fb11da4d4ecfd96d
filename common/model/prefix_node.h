/* The nodes of the prefix cache: for prefix.c and prefix_order.c alone.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_PREFIX_NODE_H
#define MODEL_PREFIX_NODE_H

#include "model/prefix.h"

enum { NO_NODE = 0 }; // nodes are numbered from 1

struct prefix_node {
    uint32_t ids[STATE_REF_SPAN]; // [n]
    uint32_t n;                   // less than STATE_REF_SPAN: a tail, which has no children
    struct state_ref ref;
    struct prefix_salt salt;      // that of its tree
    uint32_t parent;              // NO_NODE: these are the first positions
    uint32_t chain;               // the next of the same hash, or the next unused
    uint32_t child, next, before; // the first child; siblings
    uint32_t older, newer;
    uint32_t low, high; // in prefix_order.h: nodes before and after this one
};

static inline struct prefix_node *node_at(const struct prefix_cache *k, uint32_t i) {
    return &k->chunks[i / PREFIX_CHUNK][i % PREFIX_CHUNK];
}

static inline bool same_salt(const struct prefix_salt *a, const struct prefix_salt *b) {
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}

#endif
