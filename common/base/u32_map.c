/* A map from numbers: see u32_map.h. Open addressing with linear probing. Removing a key moves
 * later ones up, so that there are no marks of what was removed.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/u32_map.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"

/* The slot where a search for the key begins. */
static size_t home_of(const struct u32_map *m, uint32_t key) {
    uint64_t h = (key ^ m->secret[0]) * (m->secret[1] | 1);
    h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
    return (size_t)(h ^ h >> 32) & (m->n_slots - 1);
}

/* The slot of the key, or the free slot where it would go. */
static size_t slot_of(const struct u32_map *m, uint32_t key) {
    size_t i = home_of(m, key);
    while (m->slots[i].index != U32_MAP_NONE && m->slots[i].key != key)
        i = (i + 1) & (m->n_slots - 1);
    return i;
}

uint32_t u32_map_find(const struct u32_map *m, uint32_t key) {
    return m->n > 0 ? m->slots[slot_of(m, key)].index : U32_MAP_NONE;
}

static void resize(struct u32_map *m, size_t n_slots) {
    struct u32_map old = *m;
    m->n_slots = n_slots;
    m->slots = xreallocarray(NULL, n_slots, sizeof *m->slots);
    memset(m->slots, 0xff, n_slots * sizeof *m->slots); // all free
    for (size_t i = 0; i < old.n_slots; i++)
        if (old.slots[i].index != U32_MAP_NONE)
            m->slots[slot_of(m, old.slots[i].key)] = old.slots[i];
    free(old.slots);
}

void u32_map_set(struct u32_map *m, uint32_t key, uint32_t index) {
    if (m->n_slots == 0) {
        if (sodium_init() < 0)
            die(EXIT_SYSTEM, "libsodium cannot start");
        randombytes_buf(m->secret, sizeof m->secret);
    }
    if (2 * m->n >= m->n_slots)
        resize(m, m->n_slots ? 2 * m->n_slots : 16);
    struct u32_map_slot *s = &m->slots[slot_of(m, key)];
    m->n += s->index == U32_MAP_NONE;
    *s = (struct u32_map_slot){key, index};
}

void u32_map_remove(struct u32_map *m, uint32_t key) {
    if (u32_map_find(m, key) == U32_MAP_NONE)
        return;
    size_t mask = m->n_slots - 1, hole = slot_of(m, key);
    for (size_t i = (hole + 1) & mask; m->slots[i].index != U32_MAP_NONE; i = (i + 1) & mask)
        if (((i - home_of(m, m->slots[i].key)) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    m->slots[hole].index = U32_MAP_NONE;
    m->n--;
}

void u32_map_free(struct u32_map *m) {
    free(m->slots);
    *m = (struct u32_map){0};
}
