/* The hash of spans: see span_hash.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/span_hash.h"

#include <sodium.h>
#include <string.h>

#include "base/keyed_hash.h"

void span_secret_make(struct span_secret *s) {
    randombytes_buf(s, sizeof *s);
}

uint64_t span_hash(const struct span_secret *s, const struct prefix_salt *salt, uint32_t parent,
                   const uint32_t *ids) {
    struct {
        struct prefix_salt salt;
        uint32_t ids[STATE_REF_SPAN], parent, zero;
    } key = {.salt = *salt, .parent = parent};
    _Static_assert(sizeof key == sizeof key.salt + 4 * (STATE_REF_SPAN + 2), "no padding");
    _Static_assert(sizeof *s == KEYED_HASH_SECRET, "the secret");
    memcpy(key.ids, ids, sizeof key.ids);
    return keyed_hash((const unsigned char *)s, &key, sizeof key);
}
