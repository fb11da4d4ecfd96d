/* Content hashes: see hash.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/hash.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/err.h"

struct hash_state {
    crypto_generichash_state state;
};

/* sodium_init picks the fastest BLAKE2b for the CPU; it may be called any number of times, by any
 * thread. */
static void init(void) {
    if (sodium_init() < 0)
        die(EXIT_SYSTEM, "libsodium cannot start");
}

void hash_bytes(struct hash *h, const void *p, size_t n) {
    init();
    crypto_generichash(h->bytes, HASH_BYTES, p, n, NULL, 0);
}

struct hash_state *hash_new(void) {
    init();
    struct hash_state *s = xaligned(64, sizeof *s); // libsodium's state wants 64-byte alignment
    crypto_generichash_init(&s->state, NULL, 0, HASH_BYTES);
    return s;
}

void hash_update(struct hash_state *s, const void *p, size_t n) {
    crypto_generichash_update(&s->state, p, n);
}

void hash_final(struct hash_state *s, struct hash *out) {
    crypto_generichash_final(&s->state, out->bytes, HASH_BYTES);
    free(s);
}

void hash_hex(const struct hash *h, char out[HASH_HEX]) {
    sodium_bin2hex(out, HASH_HEX, h->bytes, HASH_BYTES);
}

bool hash_parse(struct hash *h, struct str hex) {
    size_t n = 0;
    return hex.n == HASH_HEX - 1 &&
           sodium_hex2bin(h->bytes, HASH_BYTES, hex.p, hex.n, NULL, &n, NULL) == 0 &&
           n == HASH_BYTES;
}

bool hash_same(const struct hash *a, const struct hash *b) {
    return memcmp(a->bytes, b->bytes, HASH_BYTES) == 0;
}

uint64_t hash_prefix(const struct hash *h) {
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | h->bytes[i];
    return v;
}

uint64_t hash_fingerprint(const void *p, size_t n) {
    struct hash h;
    hash_bytes(&h, p, n);
    return hash_prefix(&h);
}
