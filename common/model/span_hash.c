/* The hash of spans: see span_hash.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/span_hash.h"

#include <sodium.h>
#include <string.h>

void span_secret_make(struct span_secret *s) {
    randombytes_buf(s, sizeof *s);
}

uint64_t span_hash(const struct span_secret *s, const struct prefix_salt *salt, uint32_t parent,
                   const uint32_t *ids) {
    struct {
        struct prefix_salt salt;
        uint32_t ids[STATE_REF_SPAN], parent, zero;
    } key = {.salt = *salt, .parent = parent};
    uint64_t h;
    _Static_assert(sizeof key == sizeof key.salt + 4 * (STATE_REF_SPAN + 2), "no padding");
    _Static_assert(sizeof h == crypto_shorthash_BYTES && sizeof *s == crypto_shorthash_KEYBYTES,
                   "SipHash-2-4");
    memcpy(key.ids, ids, sizeof key.ids);
    crypto_shorthash((unsigned char *)&h, (const unsigned char *)&key, sizeof key,
                     (const unsigned char *)s);
    return h;
}
