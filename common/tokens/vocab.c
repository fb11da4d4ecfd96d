/* The vocabulary, filled token by token, and its look-ups: see vocab.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/vocab.h"

#include <stdlib.h>

#include "tokens/bytechars.h"
#include "tokens/short_bytes.h"
#include "tokens/vocab_table.h"

enum { NAME_STACK = 256 };

#define FIRST(n) (UINT64_MAX >> (64 - 8 * (n)))
const uint64_t vocab_masks[VOCAB_SHORT + 1][2] = {
    {0, 0},        {FIRST(1), 0},        {FIRST(2), 0},        {FIRST(3), 0},
    {FIRST(4), 0}, {FIRST(5), 0},        {FIRST(6), 0},        {FIRST(7), 0},
    {FIRST(8), 0}, {FIRST(8), FIRST(1)}, {FIRST(8), FIRST(2)}, {FIRST(8), FIRST(3)},
};

struct vocab_key vocab_key(const char *p, size_t n) {
    uint64_t low = 0, high = 0; // two loads that overlap
    uint32_t first, last;
    if (n > VOCAB_SHORT)
        return vocab_long_key(p, n);
    if (n >= 8) {
        low = scan_word(p);
        high = n == 8 ? 0 : scan_word(p + n - 8) >> 8 * (16 - n);
    } else if (n >= 4) {
        memcpy(&first, p, 4);
        memcpy(&last, p + n - 4, 4);
        low = first | (uint64_t)last << 8 * (n - 4);
    } else if (n > 0) {
        low = (unsigned char)p[0] | (uint64_t)(unsigned char)p[n / 2] << 8 * (n / 2) |
              (uint64_t)(unsigned char)p[n - 1] << 8 * (n - 1);
    }
    return vocab_mix(low, (uint32_t)high | (uint32_t)(n + 1) << 24);
}

size_t vocab_buckets(struct vocab *v, size_t n) {
    bytes_secret_make();
    size_t buckets = 2;
    v->shift = 31;
    for (; buckets * VOCAB_PLACES < n * 2; buckets *= 2)
        v->shift--;
    v->last = buckets - 1;
    return buckets;
}

void vocab_begin(struct vocab *v, size_t expected, bool byte_level) {
    *v = (struct vocab){.byte_level = byte_level};
    v->buckets = xcalloc(vocab_buckets(v, expected), sizeof *v->buckets);
}

void vocab_free(struct vocab *v) {
    if (!v->in_region) {
        free(v->by_id);
        free(v->entries);
        free(v->buckets);
    }
    *v = (struct vocab){0};
}

uint32_t vocab_find_name(const struct vocab *v, struct str name) {
    if (name.n > v->longest || v->count == 0)
        return NO_ID;
    uint32_t k = vocab_entry(v, vocab_key(name.p, name.n), name.p, name.n);
    return k != NO_ID ? vocab_id(v, k) : NO_ID;
}

uint32_t vocab_find(const struct vocab *v, const char *p, size_t n) {
    if (!v->byte_level || n > v->longest)
        return vocab_find_name(v, (struct str){p, n});
    char stack[NAME_STACK], *room = n * 2 + 16 > sizeof stack ? xmalloc(n * 2 + 16) : stack;
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t cp = bytechar((unsigned char)p[i]); // below U+0800
        if (cp >= 0x80)
            room[len++] = (char)(0xC0 | cp >> 6);
        room[len++] = (char)(cp >= 0x80 ? 0x80 | (cp & 0x3F) : cp);
    }
    uint32_t id = NO_ID;
    if (len <= v->longest && v->count) {
        memset(room + len, 0, 16);
        uint32_t k = vocab_entry(v, vocab_key16(room, len), room, len);
        id = k != NO_ID ? vocab_id(v, k) : NO_ID;
    }
    if (room != stack)
        free(room);
    return id;
}

static void enter(struct vocab *v, struct vocab_key key, uint32_t entry) {
    size_t i = vocab_bucket(v, key);
    while (v->buckets[i].place[VOCAB_PLACES - 1])
        i = i == v->last ? 0 : i + 1;
    struct vocab_bucket *b = &v->buckets[i];
    unsigned k = (unsigned)__builtin_ctz(vocab_vacant(b));
    b->low[k] = key.low;
    b->tag[k] = key.tag;
    b->place[k] = entry + 1;
}

static void grow_buckets(struct vocab *v) {
    free(v->buckets);
    v->buckets = xcalloc(vocab_buckets(v, (v->last + 1) * VOCAB_PLACES), sizeof *v->buckets);
    for (uint32_t k = 0; k < v->count; k++)
        enter(v, vocab_key(v->entries[k].p, v->entries[k].n), k);
}

static void make_room(struct vocab *v, uint32_t id) {
    if (id >= v->by_id_cap) {
        size_t cap = v->by_id_cap ? v->by_id_cap : 16;
        while (cap <= id)
            cap *= 2;
        v->by_id = xreallocarray(v->by_id, cap, sizeof *v->by_id);
        memset(v->by_id + v->by_id_cap, 0xFF, (cap - v->by_id_cap) * sizeof *v->by_id);
        v->by_id_cap = cap;
    }
    if (id >= v->size)
        v->size = id + 1;
}

void vocab_add(struct vocab *v, struct str piece, uint32_t id) {
    struct vocab_key key = vocab_key(piece.p, piece.n);
    make_room(v, id);
    uint32_t k = vocab_entry(v, key, piece.p, piece.n);
    if (k == NO_ID) {
        k = v->count++;
        if (k == v->entries_cap) {
            v->entries_cap = k ? 2 * (size_t)k : 16;
            v->entries = xreallocarray(v->entries, v->entries_cap, sizeof *v->entries);
        }
        v->longest = piece.n > v->longest ? piece.n : v->longest;
        v->entries[k] = (struct vocab_entry){piece.p, (uint32_t)piece.n, id};
        enter(v, key, k);
    } else if (!v->is_list && v->by_id[v->entries[k].id] == k) {
        v->by_id[v->entries[k].id] = NO_ID;
    }
    v->entries[k].id = id;
    v->by_id[id] = k;
    if ((size_t)v->count * 2 > (v->last + 1) * VOCAB_PLACES)
        grow_buckets(v);
}
