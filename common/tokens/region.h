/* Memory for big tables that are built one after another and freed together.
 *
 * A region maps blocks and hands out pieces of them in order. The kernel clears each page at its
 * first use, which can take most of the time of building a table. Regions use pages of 2 MiB, which
 * take a quarter of the time of 4 KiB pages. The last piece can grow in place, so a list of unknown
 * length costs only its final size. Pages that are never touched cost nothing.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_REGION_H
#define TOKENS_REGION_H

#include <stddef.h>

/* All zero is an empty region. */
struct region {
    char *base; // [cap] the newest block
    size_t cap, used;
    void *blocks; // [n_blocks] all blocks, for freeing
    size_t n_blocks;
};

/* Maps the first block, sized by a guess of what will be needed. Call it once, on an empty
 * region. */
void region_begin(struct region *r, size_t guess);
/* Returns n zeroed bytes, aligned to 64. They are valid until region_free. */
void *region_take(struct region *r, size_t n);
/* Resizes `last`, the last piece taken, from n to new_n bytes; it may move. Added bytes are zero
 * unless they were used before. */
void *region_grow(struct region *r, void *last, size_t n, size_t new_n);
void region_free(struct region *r);

#endif
