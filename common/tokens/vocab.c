/* The vocabulary: see vocab.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/vocab.h"

#include <stdlib.h>

#include "tokens/bytechars.h"
#include "tokens/unicode.h"

enum { NAME_STACK = 256 };

void vocab_begin(struct vocab *v, size_t expected, bool byte_level) {
    *v = (struct vocab){.byte_level = byte_level};
    size_t slots = 16;
    while (slots < expected * 2)
        slots *= 2;
    v->mask = slots - 1;
    v->slots = xreallocarray(NULL, slots, sizeof *v->slots);
    memset(v->slots, 0xFF, slots * sizeof *v->slots);
}

void vocab_free(struct vocab *v) {
    free(v->by_id);
    free(v->entries);
    free(v->slots);
    *v = (struct vocab){0};
}

/* Whether the token, spelt in the byte alphabet, stands for the bytes p. */
static bool spells(const struct vocab_entry *en, const char *p, size_t n) {
    size_t k = 0;
    for (size_t i = 0, len; i < en->n; i += len, k++)
        if (k >= n || bytechar_byte(uni_next(en->p + i, &len)) != (unsigned char)p[k])
            return false;
    return k == n;
}

uint32_t vocab_find(const struct vocab *v, const char *p, size_t n) {
    if (n > v->longest)
        return NO_ID;
    uint64_t h = hash_short(p, n);
    for (size_t i = (size_t)h & v->mask;; i = (i + 1) & v->mask) {
        struct vocab_slot slot = v->slots[i];
        if (slot.entry == NO_ID)
            return NO_ID;
        if (slot.tag != (uint32_t)(h >> 32))
            continue;
        const struct vocab_entry *en = &v->entries[slot.entry];
        if (v->byte_level ? spells(en, p, n) : en->n == n && memcmp(en->p, p, n) == 0)
            return en->id;
    }
}

/* The slot of a token by its text in the file, or the free one where it belongs. */
static struct vocab_slot *slot_of(const struct vocab *v, struct str name, uint64_t h) {
    for (size_t i = (size_t)h & v->mask;; i = (i + 1) & v->mask) {
        struct vocab_slot *slot = &v->slots[i];
        if (slot->entry == NO_ID)
            return slot;
        const struct vocab_entry *en = &v->entries[slot->entry];
        if (slot->tag == (uint32_t)(h >> 32) && en->n == name.n && memcmp(en->p, name.p, name.n) == 0)
            return slot;
    }
}

/* Hashes what a token stands for, or its own text where it is not spelt in the byte alphabet. */
static uint64_t hash_name(const struct vocab *v, struct str name, size_t *key_n) {
    *key_n = name.n;
    if (!v->byte_level)
        return hash_short(name.p, name.n);
    char stack[NAME_STACK], *room = name.n > sizeof stack ? xmalloc(name.n) : stack;
    long n = bytechars_decode(name, room);
    uint64_t h = n < 0 ? hash_short(name.p, name.n) : hash_short(room, (size_t)n);
    if (n >= 0)
        *key_n = (size_t)n;
    if (room != stack)
        free(room);
    return h;
}

uint32_t vocab_find_name(const struct vocab *v, struct str name) {
    size_t n;
    const struct vocab_slot *slot = slot_of(v, name, hash_name(v, name, &n));
    return slot->entry == NO_ID ? NO_ID : v->entries[slot->entry].id;
}

static void grow_slots(struct vocab *v) {
    size_t slots = (v->mask + 1) * 2, n;
    v->mask = slots - 1;
    v->slots = xreallocarray(v->slots, slots, sizeof *v->slots);
    memset(v->slots, 0xFF, slots * sizeof *v->slots);
    for (uint32_t k = 0; k < v->count; k++) {
        struct str name = {v->entries[k].p, v->entries[k].n};
        uint64_t h = hash_name(v, name, &n);
        *slot_of(v, name, h) = (struct vocab_slot){(uint32_t)(h >> 32), k};
    }
}

static void make_room(struct vocab *v, uint32_t id) {
    if (v->count == v->entries_cap) {
        v->entries_cap = v->entries_cap ? v->entries_cap * 2 : 1024;
        v->entries = xreallocarray(v->entries, v->entries_cap, sizeof *v->entries);
    }
    if (id >= v->by_id_cap) {
        size_t cap = v->by_id_cap ? v->by_id_cap : 1024;
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
    size_t key_n;
    uint64_t h = hash_name(v, piece, &key_n);
    if (key_n > v->longest)
        v->longest = key_n;
    make_room(v, id);
    struct vocab_slot *slot = slot_of(v, piece, h);
    uint32_t k = slot->entry;
    if (k == NO_ID) {
        k = v->count++;
        *slot = (struct vocab_slot){(uint32_t)(h >> 32), k};
    } else if (v->by_id[v->entries[k].id] == k) {
        v->by_id[v->entries[k].id] = NO_ID;
    }
    v->entries[k] = (struct vocab_entry){piece.p, (uint32_t)piece.n, id};
    v->by_id[id] = k;
    if ((size_t)v->count * 2 > v->mask)
        grow_slots(v);
}

void vocab_load(struct vocab *v, struct json *j, bool byte_level) {
    vocab_begin(v, 1024, byte_level);
    struct str piece;
    json_enter_object(j);
    while (json_key(j, &piece)) {
        uint64_t id = json_u64(j);
        if (id > VOCAB_MAX_ID)
            json_refuse(j, "token id %llu, more than %d", (unsigned long long)id, VOCAB_MAX_ID);
        if (json_failed(j))
            return;
        vocab_add(v, piece, (uint32_t)id);
    }
}
