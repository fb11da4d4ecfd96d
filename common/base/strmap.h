/* A map from byte strings to numbers, for vocabularies: open addressing over keys that the caller
 * owns. The hash is keyed at random (SipHash), so that a hostile file cannot make its keys collide.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_STRMAP_H
#define BASE_STRMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

struct strmap_slot {
    struct str key; // a view; p is NULL in a free slot
    uint32_t value;
};

struct strmap {
    struct strmap_slot *slots;
    size_t n_slots; // a power of two
    unsigned char secret[16];
};

/* Room for n keys; more must not be added. The caller frees it with strmap_free. */
void strmap_init(struct strmap *m, size_t n);
void strmap_free(struct strmap *m);

/* False, and the map unchanged, if the key exists. The key's bytes must outlive the map. */
bool strmap_add(struct strmap *m, struct str key, uint32_t value);
bool strmap_find(const struct strmap *m, struct str key, uint32_t *value);

#endif
