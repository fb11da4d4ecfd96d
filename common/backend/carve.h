/* One allocation for many parts: they are first added up, then cut off, by the same calls.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CARVE_H
#define BACKEND_CARVE_H

#include "base/mem.h"

struct carver {
    unsigned char *base; // NULL: only add up
    size_t align;        // of parts, in bytes
    size_t used;
    bool overflow; // the sum is more than a size_t can count
};

/* A part of count * each * size bytes; NULL while they are added up. */
static inline void *carve(struct carver *c, size_t count, size_t each, size_t size) {
    size_t n = 0, end = 0;
    c->overflow |= !mul_size(count, each, &n) || !mul_size(n, size, &n) ||
                   !add_size(n, c->align - 1, &n) || !add_size(c->used, n - n % c->align, &end);
    void *p = c->base ? c->base + c->used : NULL;
    c->used = c->overflow ? 0 : end;
    return p;
}

#endif
