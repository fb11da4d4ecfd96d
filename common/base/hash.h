/* Content hashes: BLAKE2b-256 (RFC 7693) from libsodium, and the 64-bit fingerprints of the stream
 * headers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

#define HASH_BYTES 32
#define HASH_HEX   (2 * HASH_BYTES + 1) // with the NUL

struct hash {
    uint8_t bytes[HASH_BYTES];
};

/* BLAKE2b-256 of p[0..n). */
void hash_bytes(struct hash *h, const void *p, size_t n);

/* The same in pieces. The caller owns the state; hash_final frees it. */
struct hash_state;
struct hash_state *hash_new(void);
void hash_update(struct hash_state *s, const void *p, size_t n);
void hash_final(struct hash_state *s, struct hash *out); // frees s

void hash_hex(const struct hash *h, char out[HASH_HEX]); // lower case
bool hash_parse(struct hash *h, struct str hex);         // exactly 64 digits, either case
bool hash_same(const struct hash *a, const struct hash *b);

/* A hash's first 8 bytes, most significant first. */
uint64_t hash_prefix(const struct hash *h);

/* The first 8 bytes of the BLAKE2b-256, most significant first: what `b2sum -l 256 FILE | cut
 * -c1-16` prints. */
uint64_t hash_fingerprint(const void *p, size_t n);

#endif
