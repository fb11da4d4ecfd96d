/* The prefix cache: see prefix.h.
 *
 * A list has the nodes in the order of their last use, and each node is newer than its children.
 * Using a path moves its nodes to the newest end, the leaf first. A new node is put just before its
 * parent, on the older side. So the oldest node is a leaf. While a path of at most max_nodes nodes
 * is added, no node of that path is evicted.
 *
 * A hash finds whole spans. Tails, and spans of which only the beginning is equal, are found by
 * the order of their ids: prefix_order.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/prefix.h"

#include <stdlib.h>

#include "base/mem.h"
#include "model/prefix_order.h"

void prefix_init(struct prefix_cache *k, struct state *state, size_t max_nodes) {
    *k = (struct prefix_cache){.state = state, .max_nodes = max_nodes};
    if (max_nodes == 0)
        return;
    span_secret_make(&k->secret);
    for (k->n_buckets = 1; k->n_buckets < max_nodes;)
        k->n_buckets *= 2;
    k->chunks = xcalloc(max_nodes / PREFIX_CHUNK + 1, sizeof *k->chunks);
    k->buckets = xcalloc(k->n_buckets, sizeof *k->buckets); // all NO_NODE
}

void prefix_free(struct prefix_cache *k) {
    for (size_t i = 0; k->chunks && i <= k->max_nodes / PREFIX_CHUNK; i++)
        free(k->chunks[i]);
    free(k->chunks);
    free(k->buckets);
    *k = (struct prefix_cache){0};
}

/* ---- Finding ---- */

static uint32_t *bucket_of(const struct prefix_cache *k, const struct prefix_salt *salt,
                           uint32_t parent, const uint32_t *ids) {
    return &k->buckets[span_hash(&k->secret, salt, parent, ids) & (k->n_buckets - 1)];
}

static uint32_t child_of(const struct prefix_cache *k, const struct prefix_salt *salt,
                         uint32_t parent, const uint32_t *ids) {
    uint32_t i = *bucket_of(k, salt, parent, ids);
    while (i != NO_NODE) {
        const struct prefix_node *n = node_at(k, i);
        if (n->parent == parent && same_salt(&n->salt, salt) &&
            memcmp(n->ids, ids, sizeof n->ids) == 0)
            break;
        i = n->chain;
    }
    return i;
}

/* The deepest node on the path of ids [n * STATE_REF_SPAN], *depth nodes from the root; NO_NODE if
 * that is 0. */
static uint32_t descend(const struct prefix_cache *k, const struct prefix_salt *salt,
                        const uint32_t *ids, size_t n, size_t *depth) {
    uint32_t node = NO_NODE;
    for (*depth = 0; *depth < n; ++*depth) {
        uint32_t child = child_of(k, salt, node, ids + *depth * STATE_REF_SPAN);
        if (child == NO_NODE)
            break;
        node = child;
    }
    return node;
}

static uint32_t *children_of(struct prefix_cache *k, uint32_t parent) {
    return parent == NO_NODE ? &k->root : &node_at(k, parent)->child;
}

/* ---- The order of use ---- */

static void unlink_node(struct prefix_cache *k, uint32_t i) {
    const struct prefix_node *n = node_at(k, i);
    *(n->older == NO_NODE ? &k->oldest : &node_at(k, n->older)->newer) = n->newer;
    *(n->newer == NO_NODE ? &k->newest : &node_at(k, n->newer)->older) = n->older;
}

/* Puts i on the older side of `newer`, or at the newest end if that is NO_NODE. */
static void link_node(struct prefix_cache *k, uint32_t i, uint32_t newer) {
    struct prefix_node *n = node_at(k, i);
    n->newer = newer;
    n->older = newer == NO_NODE ? k->newest : node_at(k, newer)->older;
    *(n->older == NO_NODE ? &k->oldest : &node_at(k, n->older)->newer) = i;
    *(newer == NO_NODE ? &k->newest : &node_at(k, newer)->older) = i;
}

static void use_path(struct prefix_cache *k, uint32_t leaf) {
    for (uint32_t i = leaf; i != NO_NODE; i = node_at(k, i)->parent) {
        unlink_node(k, i);
        link_node(k, i, NO_NODE);
    }
}

static void drop_leaf(struct prefix_cache *k, uint32_t i) {
    struct prefix_node *n = node_at(k, i);
    if (n->n == STATE_REF_SPAN) {
        uint32_t *at = bucket_of(k, &n->salt, n->parent, n->ids);
        while (*at != i)
            at = &node_at(k, *at)->chain;
        *at = n->chain;
    }
    *(n->before == NO_NODE ? children_of(k, n->parent) : &node_at(k, n->before)->next) = n->next;
    if (n->next != NO_NODE)
        node_at(k, n->next)->before = n->before;
    unlink_node(k, i);
    prefix_order_remove(k, i);
    state_drop(k->state, &n->ref);
    n->chain = k->unused;
    k->unused = i;
    k->n_nodes--;
}

size_t prefix_bytes(const struct prefix_cache *k) {
    size_t sum = 0;
    for (uint32_t i = k->oldest; i != NO_NODE; i = node_at(k, i)->newer)
        sum += state_ref_bytes(k->state, &node_at(k, i)->ref);
    return sum;
}

bool prefix_drop_oldest(struct prefix_cache *k) {
    if (k->oldest == NO_NODE)
        return false;
    drop_leaf(k, k->oldest);
    return true;
}

/* ---- Adding and sharing ---- */

/* A node that is in no list. */
static uint32_t unused_node(struct prefix_cache *k) {
    uint32_t i = k->unused;
    if (i != NO_NODE) {
        k->unused = node_at(k, i)->chain;
        return i;
    }
    i = (uint32_t)++k->n_made;
    struct prefix_node **chunk = &k->chunks[i / PREFIX_CHUNK];
    if (!*chunk)
        *chunk = xcalloc(PREFIX_CHUNK, sizeof **chunk);
    return i;
}

static uint32_t add_child(struct prefix_cache *k, const struct prefix_salt *salt, uint32_t parent,
                          const uint32_t *ids, size_t n_ids) {
    if (k->n_nodes == k->max_nodes)
        prefix_drop_oldest(k);
    uint32_t i = unused_node(k);
    struct prefix_node *n = node_at(k, i);
    uint32_t *first = children_of(k, parent);
    *n =
        (struct prefix_node){.n = (uint32_t)n_ids, .salt = *salt, .parent = parent, .next = *first};
    memcpy(n->ids, ids, n_ids * sizeof *ids);
    state_ref_init(&n->ref, parent == NO_NODE ? NULL : &node_at(k, parent)->ref);
    if (n_ids == STATE_REF_SPAN) {
        uint32_t *bucket = bucket_of(k, salt, parent, ids);
        n->chain = *bucket;
        *bucket = i;
    }
    if (*first != NO_NODE)
        node_at(k, *first)->before = i;
    *first = i;
    link_node(k, i, parent);
    prefix_order_add(k, i);
    k->n_nodes++;
    return i;
}

/* The node of the first n spans of ids, which is made with its ancestors where it is missing. n is
 * at most max_nodes. */
static uint32_t make_path(struct prefix_cache *k, const struct prefix_salt *salt,
                          const uint32_t *ids, size_t n) {
    size_t depth;
    uint32_t node = descend(k, salt, ids, n, &depth);
    use_path(k, node);
    for (; depth < n; depth++)
        node = add_child(k, salt, node, ids + depth * STATE_REF_SPAN, STATE_REF_SPAN);
    return node;
}

static size_t fewer(size_t a, size_t b) {
    return a < b ? a : b;
}

void prefix_add(struct prefix_cache *k, const struct prefix_salt *salt, const struct state_seq *q,
                const uint32_t *ids, size_t len) {
    size_t depth = fewer(len / STATE_REF_SPAN, k->max_nodes);
    uint32_t node = depth > 0 ? make_path(k, salt, ids, depth) : NO_NODE;
    for (; depth > 0; depth--, node = node_at(k, node)->parent)
        state_keep(k->state, q, depth * STATE_REF_SPAN, &node_at(k, node)->ref);
}

void prefix_add_all(struct prefix_cache *k, const struct prefix_salt *salt,
                    const struct state_seq *q, const uint32_t *ids, size_t len) {
    size_t whole = len / STATE_REF_SPAN, rest = len % STATE_REF_SPAN, depth, common;
    prefix_add(k, salt, q, ids, len);
    if (rest == 0 || whole >= k->max_nodes)
        return;
    const uint32_t *tail = ids + whole * STATE_REF_SPAN;
    uint32_t node = descend(k, salt, ids, whole, &depth),
             near = prefix_order_closest(k, salt, node, tail, rest, &common);
    use_path(k, common == rest ? near : node);
    if (common == rest)
        return;
    if (near != NO_NODE && common == node_at(k, near)->n) // a tail that ours goes on from
        drop_leaf(k, near);
    near = add_child(k, salt, node, tail, rest);
    state_keep(k->state, q, len, &node_at(k, near)->ref);
}

uint32_t prefix_find(struct prefix_cache *k, const struct prefix_salt *salt, const uint32_t *ids,
                     size_t most, size_t *len) {
    size_t depth = 0;
    uint32_t node = k->n_nodes > 0 ? descend(k, salt, ids, most / STATE_REF_SPAN, &depth) : NO_NODE;
    for (; depth > 0 && !state_usable(k->state, &node_at(k, node)->ref, depth * STATE_REF_SPAN);
         depth--)
        node = node_at(k, node)->parent;
    use_path(k, node);
    *len = depth * STATE_REF_SPAN;
    return node;
}

uint32_t prefix_find_any(struct prefix_cache *k, const struct prefix_salt *salt,
                         const uint32_t *ids, size_t most, size_t *len) {
    size_t depth = 0, common = 0;
    if (k->n_nodes == 0)
        return prefix_find(k, salt, ids, most, len);
    uint32_t node = descend(k, salt, ids, most / STATE_REF_SPAN, &depth);
    size_t from = depth * STATE_REF_SPAN;
    uint32_t child = prefix_order_closest(k, salt, node, ids + from, most - from, &common);
    if (common == 0 || !state_usable(k->state, &node_at(k, child)->ref, from + common))
        return prefix_find(k, salt, ids, most, len);
    use_path(k, child);
    *len = from + common;
    return child;
}

struct prefix_match prefix_match(struct prefix_cache *k, const struct prefix_salt *salt,
                                 const uint32_t *ids, size_t n) {
    size_t depth = 0, common = 0;
    if (k->n_nodes == 0)
        return (struct prefix_match){0};
    uint32_t node = descend(k, salt, ids, n / STATE_REF_SPAN, &depth);
    size_t from = depth * STATE_REF_SPAN;
    uint32_t child = prefix_order_closest(k, salt, node, ids + from, n - from, &common);
    struct prefix_match m = {.len = from + common};
    m.differs = m.len < n && child != NO_NODE && common < node_at(k, child)->n;
    m.theirs = m.differs ? node_at(k, child)->ids[common] : 0;
    return m;
}

void prefix_share(struct prefix_cache *k, uint32_t node, size_t len, struct state_seq *q) {
    state_take(k->state, q, &node_at(k, node)->ref, len);
}

/* ---- For kv(5) files ---- */

size_t prefix_path(struct prefix_cache *k, const struct prefix_salt *salt, const uint32_t *ids,
                   size_t n, struct state_ref **refs) {
    n = fewer(n, k->max_nodes);
    uint32_t node = n > 0 ? make_path(k, salt, ids, n) : NO_NODE;
    for (size_t depth = n; depth-- > 0; node = node_at(k, node)->parent)
        refs[depth] = &node_at(k, node)->ref;
    return n;
}

bool prefix_drop_oldest_but(struct prefix_cache *k, const struct state_ref *last) {
    return k->oldest != NO_NODE && &node_at(k, k->oldest)->ref != last && prefix_drop_oldest(k);
}

uint32_t prefix_next(const struct prefix_cache *k, uint32_t node) {
    if (node == NO_NODE)
        return k->root;
    if (node_at(k, node)->child != NO_NODE)
        return node_at(k, node)->child;
    while (node != NO_NODE && node_at(k, node)->next == NO_NODE)
        node = node_at(k, node)->parent;
    return node == NO_NODE ? NO_NODE : node_at(k, node)->next;
}

struct prefix_view prefix_view(const struct prefix_cache *k, uint32_t node) {
    const struct prefix_node *n = node_at(k, node);
    return (struct prefix_view){n->parent, &n->salt, n->ids, n->n, &n->ref};
}
