/* Keyed hashes: see keyed_hash.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/keyed_hash.h"

#include <sodium.h>

_Static_assert(sizeof(uint64_t) == crypto_shorthash_BYTES &&
                   KEYED_HASH_SECRET == crypto_shorthash_KEYBYTES,
               "SipHash-2-4 is 64 of 128 bits");

uint64_t keyed_hash(const unsigned char secret[KEYED_HASH_SECRET], const void *p, size_t n) {
    uint64_t h;
    crypto_shorthash((unsigned char *)&h, p, n, secret);
    return h;
}
