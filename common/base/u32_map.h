/* A map from 32-bit numbers, which a stranger may choose, to the index of an entry in the caller's
 * array. Hashing has a random key, so no choice of numbers makes it slow.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_U32_MAP_H
#define BASE_U32_MAP_H

#include <stddef.h>
#include <stdint.h>

#define U32_MAP_NONE UINT32_MAX // no index

struct u32_map_slot {
    uint32_t key, index; // index U32_MAP_NONE: free
};

/* All zero is an empty map. */
struct u32_map {
    struct u32_map_slot *slots; // [n_slots], a power of two, at most half full
    size_t n_slots, n;
    uint64_t secret[2];
};

uint32_t u32_map_find(const struct u32_map *m, uint32_t key); // U32_MAP_NONE: it is not there
/* Adds the key, or changes its index. index is below U32_MAP_NONE. */
void u32_map_set(struct u32_map *m, uint32_t key, uint32_t index);
void u32_map_remove(struct u32_map *m, uint32_t key); // it may be missing
void u32_map_free(struct u32_map *m);

#endif
