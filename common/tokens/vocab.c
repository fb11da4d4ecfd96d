/* The vocabulary: see vocab.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/vocab.h"

#include <stdlib.h>

#include "tokens/bytechars.h"

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
    free(v->hashes);
    *v = (struct vocab){0};
}

uint32_t vocab_entry(const struct vocab *v, struct str name, uint64_t h) {
    for (size_t i = (size_t)h & v->mask;; i = (i + 1) & v->mask) {
        struct vocab_slot slot = v->slots[i];
        if (slot.entry == NO_ID)
            return NO_ID;
        if (slot.tag != (uint32_t)(h >> 32))
            continue;
        const struct vocab_entry *en = &v->entries[slot.entry];
        if (en->n == name.n && bytes_same(en->p, name.p, name.n))
            return slot.entry;
    }
}

uint32_t vocab_find_name(const struct vocab *v, struct str name) {
    if (name.n > v->longest)
        return NO_ID;
    uint32_t k = vocab_entry(v, name, hash_short(name.p, name.n));
    return k == NO_ID ? NO_ID : v->entries[k].id;
}

uint32_t vocab_find(const struct vocab *v, const char *p, size_t n) {
    if (!v->byte_level || n > v->longest)
        return vocab_find_name(v, (struct str){p, n});
    char stack[NAME_STACK], *room = n * 2 > sizeof stack ? xmalloc(n * 2) : stack;
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t cp = bytechar((unsigned char)p[i]); // below U+0800
        if (cp >= 0x80)
            room[len++] = (char)(0xC0 | cp >> 6);
        room[len++] = (char)(cp >= 0x80 ? 0x80 | (cp & 0x3F) : cp);
    }
    uint32_t id = vocab_find_name(v, (struct str){room, len});
    if (room != stack)
        free(room);
    return id;
}

/* The slot of a token, or the free one where it belongs. */
static struct vocab_slot *slot_of(const struct vocab *v, struct str name, uint64_t h) {
    for (size_t i = (size_t)h & v->mask;; i = (i + 1) & v->mask) {
        struct vocab_slot *slot = &v->slots[i];
        if (slot->entry == NO_ID)
            return slot;
        const struct vocab_entry *en = &v->entries[slot->entry];
        if (slot->tag == (uint32_t)(h >> 32) && en->n == name.n && bytes_same(en->p, name.p, name.n))
            return slot;
    }
}

static void make_slots(struct vocab *v, size_t slots) {
    v->mask = slots - 1;
    v->slots = xreallocarray(v->slots, slots, sizeof *v->slots);
    memset(v->slots, 0xFF, slots * sizeof *v->slots);
}

static void grow_slots(struct vocab *v) {
    make_slots(v, (v->mask + 1) * 2);
    for (uint32_t k = 0; k < v->count; k++) {
        struct str name = {v->entries[k].p, v->entries[k].n};
        uint64_t h = hash_short(name.p, name.n);
        *slot_of(v, name, h) = (struct vocab_slot){(uint32_t)(h >> 32), k};
    }
}

static void make_room(struct vocab *v, uint32_t id) {
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

static void add_entry(struct vocab *v, struct str piece, uint32_t id) {
    if (v->count == v->entries_cap) {
        v->entries_cap = v->entries_cap ? v->entries_cap * 2 : 1024;
        v->entries = xreallocarray(v->entries, v->entries_cap, sizeof *v->entries);
        if (v->hashes)
            v->hashes = xreallocarray(v->hashes, v->entries_cap, sizeof *v->hashes);
    }
    if (piece.n > v->longest)
        v->longest = piece.n;
    v->entries[v->count++] = (struct vocab_entry){piece.p, (uint32_t)piece.n, id};
}

void vocab_add(struct vocab *v, struct str piece, uint32_t id) {
    uint64_t h = hash_short(piece.p, piece.n);
    make_room(v, id);
    struct vocab_slot *slot = slot_of(v, piece, h);
    uint32_t k = slot->entry;
    if (k == NO_ID) {
        k = v->count;
        add_entry(v, piece, id);
        *slot = (struct vocab_slot){(uint32_t)(h >> 32), k};
    } else if (v->by_id[v->entries[k].id] == k) {
        v->by_id[v->entries[k].id] = NO_ID;
    }
    v->entries[k].id = id;
    v->by_id[id] = k;
    if ((size_t)v->count * 2 > v->mask)
        grow_slots(v);
}

void vocab_append(struct vocab *v, struct str piece, uint32_t id) {
    add_entry(v, piece, id);
    if (!v->hashes)
        v->hashes = xreallocarray(NULL, v->entries_cap, sizeof *v->hashes);
    v->hashes[v->count - 1] = hash_short(piece.p, piece.n);
}

/* With two tokens of the same text: adds them one by one. */
static void index_slowly(struct vocab *v) {
    struct vocab all = *v;
    vocab_begin(v, all.count, all.byte_level);
    for (uint32_t k = 0; k < all.count; k++)
        vocab_add(v, (struct str){all.entries[k].p, all.entries[k].n}, all.entries[k].id);
    all.hashes = NULL;
    vocab_free(&all);
}

void vocab_index(struct vocab *v) {
    enum { AHEAD = 16 };
    size_t slots = 16;
    uint64_t *hashes = v->hashes;
    v->hashes = NULL;
    while (slots < (size_t)v->count * 2)
        slots *= 2;
    make_slots(v, slots);
    bool twice = false;
    for (uint32_t k = 0; k < v->count && !twice; k++) {
        struct str name = {v->entries[k].p, v->entries[k].n};
        if (k + AHEAD < v->count)
            vocab_prefetch(v, hashes[k + AHEAD]);
        struct vocab_slot *slot = slot_of(v, name, hashes[k]);
        twice = slot->entry != NO_ID;
        *slot = (struct vocab_slot){(uint32_t)(hashes[k] >> 32), k};
        make_room(v, v->entries[k].id);
        v->by_id[v->entries[k].id] = k;
    }
    free(hashes);
    if (twice)
        index_slowly(v);
}

void vocab_load(struct vocab *v, struct json *j, bool byte_level) {
    vocab_begin(v, 1, byte_level);
    struct str piece;
    json_enter_object(j);
    while (json_key(j, &piece)) {
        uint64_t id = json_u64(j);
        if (id > VOCAB_MAX_ID)
            json_refuse(j, "token id %llu, more than %d", (unsigned long long)id, VOCAB_MAX_ID);
        if (json_failed(j))
            return;
        vocab_append(v, piece, (uint32_t)id);
    }
    vocab_index(v);
}
