/* The prefix cache: sequence state that outlives its sequence, found by the ids that led to it. A
 * prompt that begins like an earlier sequence shares its blocks, and does not compute them again.
 *
 * The cache is a tree. A node has STATE_REF_SPAN ids that follow those of its parent, and their
 * state_ref; a leaf may be a tail of fewer ids. State of a position depends only on the ids up to
 * it (the caller adds nothing for which that is not so), so equal ids mean equal state. A hash
 * finds a node, and its ids are compared.
 *
 * Sequences of different salts have trees of their own: the nodes without a parent have a salt, and
 * are found only with it.
 *
 * There is room for a fixed number of nodes. The least recently used one is evicted. It is always a
 * leaf, because using a node also uses its ancestors. Not for several threads at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_PREFIX_H
#define MODEL_PREFIX_H

#include "model/prefix_match.h"
#include "model/span_hash.h"
#include "model/state.h"

enum { PREFIX_CHUNK = 64 }; // nodes

struct prefix_node;

struct prefix_cache {
    struct state *state;
    struct prefix_node **chunks; // the nodes, PREFIX_CHUNK at a time; NULL: not needed yet
    struct span_secret secret;   // of the hash
    uint32_t *buckets;           // [n_buckets], a power of two: the first node of each hash
    size_t n_nodes, max_nodes, n_buckets;
    uint32_t root;           // the first of the nodes without a parent
    uint32_t order;          // the top of prefix_order.h
    uint32_t unused;         // the first of the nodes that were evicted
    size_t n_made;           // nodes that were ever used
    uint32_t oldest, newest; // ends of the list by use
};

/* At most max_nodes nodes, which take memory as they are used; 0: the cache stays empty. state is
 * the caller's, and outlives k. */
void prefix_init(struct prefix_cache *k, struct state *state, size_t max_nodes);
void prefix_free(struct prefix_cache *k); // does not free blocks: the state is freed next

/* Adds the whole spans of the first len positions of q, which are those of ids [len]. A block that
 * q no longer has is missing in its node. */
void prefix_add(struct prefix_cache *k, const struct prefix_salt *salt, const struct state_seq *q,
                const uint32_t *ids, size_t len);

/* The same, and the positions after the last whole span as a tail. */
void prefix_add_all(struct prefix_cache *k, const struct prefix_salt *salt,
                    const struct state_seq *q, const uint32_t *ids, size_t len);

/* The node of the longest prefix of ids, of at most `most` positions, after which a sequence can
 * begin. *len is its length, a multiple of STATE_REF_SPAN; 0: there is none. It counts as used. */
uint32_t prefix_find(struct prefix_cache *k, const struct prefix_salt *salt, const uint32_t *ids,
                     size_t most, size_t *len);

/* The same, of any length: the last positions may be the beginning of a node's. The page that is
 * shared in part is copied before it is written. */
uint32_t prefix_find_any(struct prefix_cache *k, const struct prefix_salt *salt,
                         const uint32_t *ids, size_t most, size_t *len);

/* How far ids [n] and the cache are the same, to the id, whether or not a sequence can begin there.
 * Nothing counts as used. */
struct prefix_match prefix_match(struct prefix_cache *k, const struct prefix_salt *salt,
                                 const uint32_t *ids, size_t n);

/* q (empty) begins with the len > 0 positions of a node that was just found. */
void prefix_share(struct prefix_cache *k, uint32_t node, size_t len, struct state_seq *q);

/* Bytes of blocks that only the cache holds: evicting nodes frees them. */
size_t prefix_bytes(const struct prefix_cache *k);

/* Evicts the least recently used node; false if there is none. */
bool prefix_drop_oldest(struct prefix_cache *k);

/* ---- For kv(5) files ---- */

/* Makes the nodes of the first n whole spans of ids, as far as there is room, and gives their refs,
 * from the first. Returns how many. They count as used. The pointers are valid until one of these
 * nodes is evicted. */
size_t prefix_path(struct prefix_cache *k, const struct prefix_salt *salt, const uint32_t *ids,
                   size_t n, struct state_ref **refs);

/* As prefix_drop_oldest, but false where it would evict the last of the nodes that prefix_path has
 * given just before. */
bool prefix_drop_oldest_but(struct prefix_cache *k, const struct state_ref *last);

/* A node, as it is saved. */
struct prefix_view {
    uint32_t parent; // 0: none
    const struct prefix_salt *salt;
    const uint32_t *ids; // [n]
    size_t n;            // less than STATE_REF_SPAN: a tail
    const struct state_ref *ref;
};

/* The node after `node`, each after its parent; 0 begins, and ends. */
uint32_t prefix_next(const struct prefix_cache *k, uint32_t node);
struct prefix_view prefix_view(const struct prefix_cache *k, uint32_t node);

#endif
