/* A map from byte strings to numbers: see strmap.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/strmap.h"

#include <sodium.h>
#include <stdlib.h>

#include "base/keyed_hash.h"

void strmap_init(struct strmap *m, size_t n) {
    m->n_slots = 16;
    while (m->n_slots / 2 < n) // at most half full
        m->n_slots *= 2;
    m->slots = xcalloc(m->n_slots, sizeof *m->slots);
    randombytes_buf(m->secret, sizeof m->secret);
}

void strmap_free(struct strmap *m) {
    free(m->slots);
    *m = (struct strmap){0};
}

/* The slot of the key, or the free slot where it would go. */
static struct strmap_slot *slot_of(const struct strmap *m, struct str key) {
    for (uint64_t at = keyed_hash(m->secret, key.p, key.n);; at++) {
        struct strmap_slot *s = &m->slots[at & (m->n_slots - 1)];
        if (!s->key.p || str_same(s->key, key))
            return s;
    }
}

bool strmap_add(struct strmap *m, struct str key, uint32_t value) {
    struct strmap_slot *s = slot_of(m, key);
    if (s->key.p)
        return false;
    *s = (struct strmap_slot){key, value};
    return true;
}

bool strmap_find(const struct strmap *m, struct str key, uint32_t *value) {
    const struct strmap_slot *s = slot_of(m, key);
    if (!s->key.p)
        return false;
    *value = s->value;
    return true;
}
