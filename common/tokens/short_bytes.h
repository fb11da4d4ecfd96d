/* Hashing and comparing texts of a few bytes, inline: a call to memcmp would cost more than the
 * work.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_SHORT_BYTES_H
#define TOKENS_SHORT_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Random numbers of this process, for the hashes of all tables; the last one is odd. Without them a
 * stranger's tokenizer.json could hold tokens that all collide, and loading would take quadratic
 * time. bytes_secret_make sets them once; the code that makes a table calls it first. */
extern uint64_t bytes_secret[4];
void bytes_secret_make(void);

/* Multiplies to 128 bits and folds the halves: a fast mixing step. */
static inline uint64_t bytes_mix(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 wide;
    wide m = (wide)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
#else
    a = (a ^ a >> 32) * b;
    return a ^ a >> 29;
#endif
}

/* Whether n bytes are the same; fast for small n. */
static inline bool bytes_same(const char *a, const char *b, size_t n) {
    uint64_t x, y;
    for (; n > 8; a += 8, b += 8, n -= 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        if (x != y)
            return false;
    }
    if (n == 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        return x == y;
    }
    if (n >= 4) {
        uint32_t c[2], d[2];
        memcpy(&c[0], a, 4);
        memcpy(&d[0], b, 4);
        memcpy(&c[1], a + n - 4, 4);
        memcpy(&d[1], b + n - 4, 4);
        return c[0] == d[0] && c[1] == d[1];
    }
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

/* A fast hash of n bytes. Its low bits are good too. */
static inline uint64_t bytes_hash(const char *p, size_t n) {
    uint64_t a = 0, b = 0, h = bytes_secret[2] ^ n;
    for (; n > 16; p += 16, n -= 16) {
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        h = bytes_mix(h ^ a, b ^ bytes_secret[1]);
    }
    a = b = 0;
    if (n >= 8) {
        memcpy(&a, p, 8);
        memcpy(&b, p + n - 8, 8);
    } else if (n >= 4) {
        uint32_t x, y;
        memcpy(&x, p, 4);
        memcpy(&y, p + n - 4, 4);
        a = x;
        b = y;
    } else if (n > 0) {
        a = (uint64_t)(unsigned char)p[0] << 16 | (uint64_t)(unsigned char)p[n / 2] << 8 |
            (unsigned char)p[n - 1];
    }
    return bytes_mix(a ^ h, b ^ bytes_secret[0]);
}

#endif
