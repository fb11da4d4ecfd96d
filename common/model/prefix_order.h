/* The nodes of the prefix cache in the order of parent, salt and ids. Siblings that begin alike are
 * neighbours there, so the closest one is found without comparing all of them: a client that sends
 * prompts which differ in their first ids makes no request slower.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_PREFIX_ORDER_H
#define MODEL_PREFIX_ORDER_H

#include "model/prefix_node.h"

/* Node i, whose parent, salt and ids are set, and do not change until it is removed. */
void prefix_order_add(struct prefix_cache *k, uint32_t i);
void prefix_order_remove(struct prefix_cache *k, uint32_t i);

/* A child of parent with this salt whose ids have the most in common with ids [n], and how many
 * that are, which may be 0; NO_NODE if it has no children with the salt. Of two with as many, the
 * one whose ids come first. */
uint32_t prefix_order_closest(const struct prefix_cache *k, const struct prefix_salt *salt,
                              uint32_t parent, const uint32_t *ids, size_t n, size_t *common);

#endif
