/* The model's vocabulary: token text to id and back.
 *
 * A byte-level vocabulary is looked up by the bytes that its tokens stand for (bytechars.h). Token
 * texts are views into tokenizer.json. The table holds the whole text of a token of up to 11 bytes,
 * so that looking one up is one read from memory; of a longer one a hash, and then texts are
 * compared. It is made of buckets of one cache line, whose places are compared without a branch:
 * what a look-up costs is mostly branches that the processor guesses wrong.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_VOCAB_H
#define TOKENS_VOCAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"
#include "tokens/region.h"
#include "base/scan.h"

enum { VOCAB_MAX_ID = (1 << 24) - 1 };
#define NO_ID UINT32_MAX // no such token

struct vocab_entry {
    const char *p; // [n] as in the file
    uint32_t n, id;
};

/* A text of up to VOCAB_SHORT bytes, in full: its first 8 bytes, and its next 3 and its length + 1
 * mixed with those (which can be undone). Of a longer one a hash of 64 bits, its length and
 * UINT8_MAX. */
struct vocab_key {
    uint64_t low;
    uint32_t tag;
};

enum { VOCAB_SHORT = 11, VOCAB_PLACES = 4 };

struct vocab_bucket {
    uint32_t tag[VOCAB_PLACES];
    uint32_t
        place[VOCAB_PLACES]; // index of the entry + 1; 0 where it is free; filled from the first on
    uint64_t low[VOCAB_PLACES];
};

struct vocab {
    bool byte_level;
    bool in_region; // the arrays are a region's, not ours
    bool is_list;   // ids are places in a list: of two with the same text, both ids stand for it
    bool in_order;  // entry k has id k
    uint32_t size;  // largest id + 1
    uint32_t
        *by_id; // [size] index into entries, NO_ID where an id has no token; NULL where in_order
    struct vocab_entry *entries; // [count], in the file's order
    uint32_t count;
    struct vocab_bucket *buckets; // [last + 1], a power of two; open addressing
    size_t last, by_id_cap, entries_cap;
    unsigned shift;   // of a hash of 32 bits to a bucket
    size_t longest;   // bytes of the longest token, as it is written in the file
    const char *near; // where texts begin that 16 bytes can be read of, n_near places
    size_t n_near;
};

/* An object of token texts and ids, the value that j stands before; refused in j where it is not
 * sound. The tables are taken from mem, and texts stay in j's input. */
void vocab_load(struct vocab *v, struct json *j, bool byte_level, struct region *mem);
void vocab_free(struct vocab *v);

/* The same for other forms of lists: tokens can be found only when all have been appended and
 * indexed. Nothing else may be taken from mem in between. */
void vocab_begin_load(struct vocab *v, const struct json *j, bool byte_level);
static inline void vocab_append(struct vocab *v, struct str piece, uint32_t id, struct region *mem);
void vocab_index(struct vocab *v, struct region *mem);

/* One by one, in memory of its own. */
void vocab_begin(struct vocab *v, size_t expected, bool byte_level);
void vocab_add(struct vocab *v, struct str piece, uint32_t id); // a later one of the same text wins

/* The id of text as the model sees it (for a byte-level vocabulary: of bytes), or NO_ID. */
uint32_t vocab_find(const struct vocab *v, const char *p, size_t n);
uint32_t vocab_find_name(const struct vocab *v,
                         struct str name); // of a token as it is written in the file

static inline uint32_t vocab_id(const struct vocab *v, uint32_t entry) {
    return v->by_id ? v->entries[entry].id : entry;
}

static inline struct str vocab_piece(const struct vocab *v, uint32_t id) {
    uint32_t k = id >= v->size ? NO_ID : v->by_id ? v->by_id[id] : id;
    if (k == NO_ID)
        return (struct str){0};
    const struct vocab_entry *en = &v->entries[k];
    return (struct str){en->p, en->n};
}

/* A quick hash of n bytes; good to use its low bits. */
static inline uint64_t hash_mix(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    __extension__ typedef unsigned __int128 wide;
    wide m = (wide)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
#else
    a = (a ^ a >> 32) * b;
    return a ^ a >> 29;
#endif
}

/* memcmp for a few bytes. */
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

static inline uint64_t hash_short(const char *p, size_t n) {
    uint64_t a = 0, b = 0, h = 0x9E3779B97F4A7C15u ^ n;
    for (; n > 16; p += 16, n -= 16) {
        memcpy(&a, p, 8);
        memcpy(&b, p + 8, 8);
        h = hash_mix(h ^ a, b ^ 0xE7037ED1A0B428DBu);
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
    return hash_mix(a ^ h, b ^ 0xA0761D6478BD642Fu);
}

/* As many buckets as n tokens need, which are yet to be made. */
size_t vocab_buckets(struct vocab *v, size_t n);

/* For many look-ups in a row. */
static inline bool vocab_is_near(const struct vocab *v, const char *p) {
    return (uintptr_t)p - (uintptr_t)v->near < v->n_near;
}

static inline struct vocab_key vocab_mix(uint64_t low, uint32_t high) {
    return (struct vocab_key){low, high ^ (uint32_t)(low * 0x9E3779B97F4A7C15u >> 32)};
}

static inline struct vocab_key vocab_long_key(const char *p, size_t n) {
    return vocab_mix(hash_short(p, n), (uint32_t)UINT8_MAX << 24 | ((uint32_t)n & 0xFFFFFF));
}

extern const uint64_t vocab_masks[VOCAB_SHORT + 1]
                                 [2]; // of the first 8 bytes of n, and of the others

/* The key of p[0..n), of which 16 bytes can be read. */
static inline struct vocab_key vocab_key_near(const char *p, size_t n) {
    if (n > VOCAB_SHORT)
        return vocab_long_key(p, n);
    return vocab_mix(scan_word(p) & vocab_masks[n][0],
                     (uint32_t)(scan_word(p + 8) & vocab_masks[n][1]) | (uint32_t)(n + 1) << 24);
}

struct vocab_key vocab_key(const char *p, size_t n);

static inline size_t vocab_bucket(const struct vocab *v, struct vocab_key key) {
    return (size_t)(key.tag * 0x9E3779B9u >> v->shift);
}

static inline void vocab_prefetch(const struct vocab *v, struct vocab_key key) {
    __builtin_prefetch(&v->buckets[vocab_bucket(v, key)]);
}

/* A bit for each place with this tag. */
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

void vocab_more_entries(struct vocab *v, struct region *mem);

static inline void vocab_append(struct vocab *v, struct str piece, uint32_t id,
                                struct region *mem) {
    uint32_t k = v->count;
    if (k == v->entries_cap)
        vocab_more_entries(v, mem);
    v->longest = piece.n > v->longest ? piece.n : v->longest;
    v->size = id >= v->size ? id + 1 : v->size;
    v->in_order &= id == k;
    v->entries[k] = (struct vocab_entry){piece.p, (uint32_t)piece.n, id};
    v->count = k + 1;
}

/* The entry of the text p[0..n), or NO_ID. */
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
