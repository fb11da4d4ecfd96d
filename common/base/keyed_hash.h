/* Hashes for tables whose keys may come from a hostile file: without the secret nobody can choose
 * keys that collide.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_KEYED_HASH_H
#define BASE_KEYED_HASH_H

#include <stddef.h>
#include <stdint.h>

enum { KEYED_HASH_SECRET = 16 }; // random bytes

/* SipHash-2-4 of p[0..n). */
uint64_t keyed_hash(const unsigned char secret[KEYED_HASH_SECRET], const void *p, size_t n);

#endif
