/* The hash table of a vocabulary, and fast look-ups of many tokens.
 *
 * A key of 12 bytes holds the whole text of a token of up to 11 bytes. Looking up such a token
 * reads one cache line. A longer token's key has a hash of the text, and then the texts are
 * compared. A bucket is one cache line of 4 places, which are compared at once, without branches.
 * Mispredicted branches are most of the cost of a look-up.
 *
 *     bucket, 64 bytes    tag[4]    place[4]    low[4]
 *                         u32       u32         u64
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_VOCAB_TABLE_H
#define TOKENS_VOCAB_TABLE_H

#include "base/scan.h"
#include "tokens/short_bytes.h"
#include "tokens/vocab.h"

/* The key of a text. Up to VOCAB_SHORT bytes it is the text itself: `low` has the first 8 bytes.
 * `tag` has the next 3 bytes and the length + 1, xored with a hash of `low`, which loses nothing.
 * For a longer text, `low` is a hash of 64 bits. `tag` then has the length and UINT8_MAX. */
struct vocab_key {
    uint64_t low;
    uint32_t tag;
};

enum { VOCAB_SHORT = 11, VOCAB_PLACES = 4 };

struct vocab_bucket {
    uint32_t tag[VOCAB_PLACES];
    // Index of the entry + 1; 0 if free. Places are filled from the first on.
    uint32_t place[VOCAB_PLACES];
    uint64_t low[VOCAB_PLACES];
};

/* Sets `last` and `shift` for n tokens and returns the number of buckets, which the caller
 * allocates. */
size_t vocab_buckets(struct vocab *v, size_t n);

/* Whether 16 bytes can be read at p. */
static inline bool vocab_readable16(const struct vocab *v, const char *p) {
    return (uintptr_t)p - (uintptr_t)v->readable16 < v->n_readable16;
}

static inline struct vocab_key vocab_mix(uint64_t low, uint32_t high) {
    return (struct vocab_key){
        low, high ^ (uint32_t)(bytes_mix(low ^ bytes_secret[0], bytes_secret[1]) >> 32)};
}

static inline struct vocab_key vocab_long_key(const char *p, size_t n) {
    return vocab_mix(bytes_hash(p, n), (uint32_t)UINT8_MAX << 24 | ((uint32_t)n & 0xFFFFFF));
}

// For texts of n bytes: masks of the first 8 bytes and of the bytes after them.
extern const uint64_t vocab_masks[VOCAB_SHORT + 1][2];

/* Returns the key of p[0..n). 16 bytes must be readable at p. */
static inline struct vocab_key vocab_key16(const char *p, size_t n) {
    if (n > VOCAB_SHORT)
        return vocab_long_key(p, n);
    return vocab_mix(scan_word(p) & vocab_masks[n][0],
                     (uint32_t)(scan_word(p + 8) & vocab_masks[n][1]) | (uint32_t)(n + 1) << 24);
}

/* Returns the key of p[0..n). Reads no other bytes. */
struct vocab_key vocab_key(const char *p, size_t n);

static inline size_t vocab_bucket(const struct vocab *v, struct vocab_key key) {
    return (size_t)(key.tag * (uint32_t)bytes_secret[3] >> v->shift);
}

static inline void vocab_prefetch(const struct vocab *v, struct vocab_key key) {
    __builtin_prefetch(&v->buckets[vocab_bucket(v, key)]);
}

/* Returns a bit for each place with this tag. */
static inline unsigned vocab_tags(const struct vocab_bucket *b, uint32_t tag) {
#ifdef __SSE2__
    return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(
        _mm_loadu_si128((const __m128i *)(const void *)b->tag), _mm_set1_epi32((int)tag))));
#else
    unsigned found = 0;
    for (unsigned k = 0; k < VOCAB_PLACES; k++)
        found |= (unsigned)(b->tag[k] == tag) << k;
    return found;
#endif
}

/* Returns a bit for each free place. */
static inline unsigned vocab_vacant(const struct vocab_bucket *b) {
#ifdef __SSE2__
    return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(
        _mm_loadu_si128((const __m128i *)(const void *)b->place), _mm_setzero_si128())));
#else
    unsigned vacant = 0;
    for (unsigned k = 0; k < VOCAB_PLACES; k++)
        vacant |= (unsigned)(b->place[k] == 0) << k;
    return vacant;
#endif
}

/* Returns the entry of the text p[0..n), whose key is `key`, or NO_ID. */
static inline uint32_t vocab_entry(const struct vocab *v, struct vocab_key key, const char *p,
                                   size_t n) {
    for (size_t i = vocab_bucket(v, key);; i = i == v->last ? 0 : i + 1) {
        const struct vocab_bucket *b = &v->buckets[i];
        for (unsigned found = vocab_tags(b, key.tag); found; found &= found - 1) {
            unsigned k = (unsigned)__builtin_ctz(found);
            uint32_t entry = b->place[k] - 1;
            if (b->low[k] != key.low || entry == NO_ID)
                continue;
            if (n <= VOCAB_SHORT ||
                (v->entries[entry].n == n && bytes_same(v->entries[entry].p, p, n)))
                return entry;
        }
        if (b->place[VOCAB_PLACES - 1] == 0)
            return NO_ID;
    }
}

#endif
