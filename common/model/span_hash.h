/* A keyed hash of what leads to a span of ids: the parent's number, the salt, and the ids. The
 * prefix cache and kv(5) files find their nodes by it. Clients choose the ids, and a stranger may
 * have written the file. So the hash is SipHash with a random key: nobody can choose spans that
 * make a table slow.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_SPAN_HASH_H
#define MODEL_SPAN_HASH_H

#include <stdint.h>

#include "model/prefix_match.h"
#include "model/state.h"

struct span_secret {
    uint64_t word[2];
};

void span_secret_make(struct span_secret *s);

/* ids [STATE_REF_SPAN] */
uint64_t span_hash(const struct span_secret *s, const struct prefix_salt *salt, uint32_t parent,
                   const uint32_t *ids);

#endif
