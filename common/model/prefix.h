/* KV pages that outlive their sequence, findable by the ids that led to them: a prompt that begins
 * like an earlier sequence takes its pages over instead of computing them again.
 *
 * A tree: a node is KV_PAGE ids behind those of its parent, and holds one page of each group. Keys
 * and values of a position depend on the ids up to it alone (the caller keeps nothing of which that
 * is not so), so equal ids mean equal pages; the ids are compared, a hash only says where to look.
 * There is room for a fixed number of nodes; the one that was used least recently gives way, and is
 * always a leaf: whoever uses a node uses its parents too. Not for several threads at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_PREFIX_H
#define MODEL_PREFIX_H

#include "model/kv.h"

struct prefix_node;

struct prefix_cache {
    struct kv *kv;
    struct prefix_node *nodes; // [max_nodes]
    uint32_t *buckets;         // [n_buckets] a power of two: the first node of each hash
    size_t n_nodes, max_nodes, n_buckets;
    uint32_t unused;         // nodes given back, chained
    size_t n_made;           // nodes that were ever used
    uint32_t oldest, newest; // in the order of use
};

/* Room for max_nodes nodes; 0: keeps nothing. kv stays the caller's, and outlives k. */
void prefix_init(struct prefix_cache *k, struct kv *kv, size_t max_nodes);
void prefix_free(struct prefix_cache *k); // pages stay counted: for when kv ends too

/* Keeps the whole pages of q's first len positions, which are those of ids [len]. Pages of a window
 * that q has given back are missing in their nodes. */
void prefix_add(struct prefix_cache *k, const struct kv_seq *q, const uint32_t *ids, size_t len);

/* The node of the longest beginning of ids, of at most `most` positions, of which a query behind it
 * finds all pages; *len is its length, a multiple of KV_PAGE. It counts as used. */
uint32_t prefix_find(struct prefix_cache *k, const uint32_t *ids, size_t most, size_t *len);

/* q (empty) shares the len positions of a node just found. */
void prefix_share(struct prefix_cache *k, uint32_t node, size_t len, struct kv_seq *q);

/* Gives back the node that was used least recently; false where there is none. */
bool prefix_drop_oldest(struct prefix_cache *k);

#endif
