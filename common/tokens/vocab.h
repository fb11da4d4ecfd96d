/* The model's vocabulary: token text to id and back.
 *
 * A byte-level vocabulary is looked up by the bytes that its tokens stand for (bytechars.h). Token texts are views into
 * tokenizer.json.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_VOCAB_H
#define TOKENS_VOCAB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/json.h"
#include "base/mem.h"

enum { VOCAB_MAX_ID = (1 << 24) - 1 };
#define NO_ID UINT32_MAX // no such token

struct vocab_entry {
    const char *p; // [n] as in the file
    uint32_t n, id;
};

struct vocab_slot {
    uint32_t tag, entry; // entry is NO_ID where the slot is free
};

struct vocab {
    bool byte_level;
    uint32_t size;               // largest id + 1
    uint32_t *by_id;             // [size] index into entries, NO_ID where an id has no token
    struct vocab_entry *entries; // [count], in the file's order
    uint32_t count;
    struct vocab_slot *slots; // [mask + 1], open addressing
    uint64_t *hashes;         // [count] of entries that are not indexed yet
    size_t by_id_cap, entries_cap, mask;
    size_t longest; // bytes of the longest token, as it is written in the file
};

/* An object of token texts and ids, the value that j stands before; refused in j where it is not sound. */
void vocab_load(struct vocab *v, struct json *j, bool byte_level);
void vocab_begin(struct vocab *v, size_t expected, bool byte_level);
void vocab_add(struct vocab *v, struct str piece, uint32_t id); // a later one of the same text wins
void vocab_free(struct vocab *v);

/* The same for many tokens: they can be found only when all have been appended and indexed. */
void vocab_append(struct vocab *v, struct str piece, uint32_t id);
void vocab_index(struct vocab *v);

/* The id of text as the model sees it (for a byte-level vocabulary: of bytes), or NO_ID. */
uint32_t vocab_find(const struct vocab *v, const char *p, size_t n);
uint32_t vocab_find_name(const struct vocab *v, struct str name); // of a token as it is written in the file

/* For many look-ups in a row: h is hash_short of the name; the index of its entry, or NO_ID. */
uint32_t vocab_entry(const struct vocab *v, struct str name, uint64_t h);
static inline void vocab_prefetch(const struct vocab *v, uint64_t h) {
    __builtin_prefetch(&v->slots[(size_t)h & v->mask]);
}
static inline void vocab_prefetch_entry(const struct vocab *v, uint64_t h) { // when the slot has come
    uint32_t k = v->slots[(size_t)h & v->mask].entry;
    if (k != NO_ID)
        __builtin_prefetch(&v->entries[k]);
}
static inline void vocab_prefetch_text(const struct vocab *v, uint64_t h) { // when the entry has come
    uint32_t k = v->slots[(size_t)h & v->mask].entry;
    if (k != NO_ID)
        __builtin_prefetch(v->entries[k].p);
}

static inline struct str vocab_piece(const struct vocab *v, uint32_t id) {
    if (id >= v->size || v->by_id[id] == NO_ID)
        return (struct str){0};
    const struct vocab_entry *en = &v->entries[v->by_id[id]];
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
        a = (uint64_t)(unsigned char)p[0] << 16 | (uint64_t)(unsigned char)p[n / 2] << 8 | (unsigned char)p[n - 1];
    }
    return hash_mix(a ^ h, b ^ 0xA0761D6478BD642Fu);
}

#endif
