/* Pages that outlive their sequence: see kept.h.
 *
 * The order of use is a list in which every node stands newer than its children. Using a path moves
 * its nodes to the newest end, leaf first; a new node goes in just older than its parent. So the
 * oldest is a leaf, and while a path of at most max_nodes is added, what gives way is never of that
 * path.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/prefix.h"

#include <stdlib.h>

#define NO_NODE UINT32_MAX

struct prefix_node {
    uint32_t ids[KV_PAGE];
    uint32_t pages[KV_MAX_GROUPS]; // KV_NO_PAGE: had been given back, behind a window
    uint32_t parent;               // NO_NODE: these are the first positions
    uint32_t chain;                // the next of the same hash, or the next unused
    uint32_t older, newer;
};

void prefix_init(struct prefix_cache *k, struct kv *kv, size_t max_nodes) {
    *k = (struct prefix_cache){
        .kv = kv, .max_nodes = max_nodes, .unused = NO_NODE, .oldest = NO_NODE, .newest = NO_NODE};
    if (max_nodes == 0)
        return;
    for (k->n_buckets = 1; k->n_buckets < max_nodes;)
        k->n_buckets *= 2;
    k->nodes = xcalloc(max_nodes, sizeof *k->nodes);
    k->buckets = xcalloc(k->n_buckets, sizeof *k->buckets);
    memset(k->buckets, 0xff, k->n_buckets * sizeof *k->buckets); // NO_NODE
}

void prefix_free(struct prefix_cache *k) {
    free(k->nodes);
    free(k->buckets);
    *k = (struct prefix_cache){0};
}

/* ---- Finding ---- */

/* FNV-1a (Fowler, Noll, Vo) over words, and its high bits mixed into the low ones that choose the
 * bucket.
 */
static uint32_t *bucket_of(const struct prefix_cache *k, uint32_t parent, const uint32_t *ids) {
    uint64_t h = (0xcbf29ce484222325u ^ parent) * 0x100000001b3u;
    for (size_t i = 0; i < KV_PAGE; i++)
        h = (h ^ ids[i]) * 0x100000001b3u;
    return &k->buckets[(h ^ h >> 32) & (k->n_buckets - 1)];
}

static uint32_t child_of(const struct prefix_cache *k, uint32_t parent, const uint32_t *ids) {
    uint32_t i = *bucket_of(k, parent, ids);
    while (i != NO_NODE && (k->nodes[i].parent != parent ||
                            memcmp(k->nodes[i].ids, ids, sizeof k->nodes[i].ids) != 0))
        i = k->nodes[i].chain;
    return i;
}

/* The deepest node on the path of ids [n_pages * KV_PAGE]; *depth nodes, NO_NODE where 0. */
static uint32_t descend(const struct prefix_cache *k, const uint32_t *ids, size_t n_pages,
                        size_t *depth) {
    uint32_t node = NO_NODE;
    for (*depth = 0; *depth < n_pages; ++*depth) {
        uint32_t child = child_of(k, node, ids + *depth * KV_PAGE);
        if (child == NO_NODE)
            break;
        node = child;
    }
    return node;
}

/* ---- The order of use ---- */

static void unlink_node(struct prefix_cache *k, uint32_t i) {
    const struct prefix_node *n = &k->nodes[i];
    *(n->older == NO_NODE ? &k->oldest : &k->nodes[n->older].newer) = n->newer;
    *(n->newer == NO_NODE ? &k->newest : &k->nodes[n->newer].older) = n->older;
}

/* Puts i just older than `newer`, or at the newest end where that is NO_NODE. */
static void link_node(struct prefix_cache *k, uint32_t i, uint32_t newer) {
    struct prefix_node *n = &k->nodes[i];
    n->newer = newer;
    n->older = newer == NO_NODE ? k->newest : k->nodes[newer].older;
    *(n->older == NO_NODE ? &k->oldest : &k->nodes[n->older].newer) = i;
    *(newer == NO_NODE ? &k->newest : &k->nodes[newer].older) = i;
}

static void use_path(struct prefix_cache *k, uint32_t leaf) {
    for (uint32_t i = leaf; i != NO_NODE; i = k->nodes[i].parent) {
        unlink_node(k, i);
        link_node(k, i, NO_NODE);
    }
}

bool prefix_drop_oldest(struct prefix_cache *k) {
    uint32_t i = k->oldest;
    if (i == NO_NODE)
        return false;
    struct prefix_node *n = &k->nodes[i];
    uint32_t *at = bucket_of(k, n->parent, n->ids);
    while (*at != i)
        at = &k->nodes[*at].chain;
    *at = n->chain;
    unlink_node(k, i);
    for (size_t g = 0; g < k->kv->n_groups; g++)
        kv_page_drop(&k->kv->groups[g], &n->pages[g]);
    n->chain = k->unused;
    k->unused = i;
    k->n_nodes--;
    return true;
}

/* ---- Adding and sharing ---- */

static uint32_t add_child(struct prefix_cache *k, uint32_t parent, const uint32_t *ids) {
    if (k->n_nodes == k->max_nodes)
        prefix_drop_oldest(k);
    uint32_t i = k->unused;
    if (i == NO_NODE)
        i = (uint32_t)k->n_made++;
    else
        k->unused = k->nodes[i].chain;
    struct prefix_node *n = &k->nodes[i];
    uint32_t *bucket = bucket_of(k, parent, ids);
    memcpy(n->ids, ids, sizeof n->ids);
    memset(n->pages, 0xff, sizeof n->pages); // KV_NO_PAGE
    n->parent = parent;
    n->chain = *bucket;
    *bucket = i;
    link_node(k, i, parent);
    k->n_nodes++;
    return i;
}

void prefix_add(struct prefix_cache *k, const struct kv_seq *q, const uint32_t *ids, size_t len) {
    size_t n_pages = len / KV_PAGE < k->max_nodes ? len / KV_PAGE : k->max_nodes, depth;
    if (n_pages == 0)
        return;
    uint32_t node = descend(k, ids, n_pages, &depth);
    use_path(k, node);
    for (; depth < n_pages; depth++)
        node = add_child(k, node, ids + depth * KV_PAGE);
    for (; depth-- > 0; node = k->nodes[node].parent)
        for (size_t g = 0; g < k->kv->n_groups; g++)
            if (k->nodes[node].pages[g] == KV_NO_PAGE)
                k->nodes[node].pages[g] = kv_page_share(&k->kv->groups[g], q->tables[g][depth]);
}

/* Whether a query behind the depth pages of a path finds all that it sees. */
static bool usable(const struct prefix_cache *k, uint32_t leaf, size_t depth) {
    for (size_t g = 0; g < k->kv->n_groups; g++) {
        size_t first = kv_first_seen(&k->kv->groups[g], depth * KV_PAGE);
        uint32_t i = leaf;
        for (size_t p = depth; p-- > first; i = k->nodes[i].parent)
            if (k->nodes[i].pages[g] == KV_NO_PAGE)
                return false;
    }
    return true;
}

uint32_t prefix_find(struct prefix_cache *k, const uint32_t *ids, size_t most, size_t *len) {
    size_t depth = 0;
    uint32_t node = k->n_nodes > 0 ? descend(k, ids, most / KV_PAGE, &depth) : NO_NODE;
    for (; depth > 0 && !usable(k, node, depth); depth--)
        node = k->nodes[node].parent;
    use_path(k, node);
    *len = depth * KV_PAGE;
    return node;
}

void prefix_share(struct prefix_cache *k, uint32_t node, size_t len, struct kv_seq *q) {
    size_t depth = len / KV_PAGE;
    for (size_t g = 0; g < k->kv->n_groups; g++) {
        struct kv_group *group = &k->kv->groups[g];
        uint32_t i = node;
        q->first[g] = kv_first_seen(group, len);
        q->end[g] = depth;
        for (size_t p = depth; p-- > q->first[g]; i = k->nodes[i].parent)
            q->tables[g][p] = kv_page_share(group, k->nodes[i].pages[g]);
    }
}
