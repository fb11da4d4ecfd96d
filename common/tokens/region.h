/* Memory for big tables that are made one after the other and freed together.
 *
 * Most of the time of making a table can go to the system, which clears each page of 4 KiB when it
 * is first touched. A region asks for pages of 2 MiB, which take a quarter of the time, lays its
 * pieces side by side in them, and lets the last piece grow where it is, so that a list of unknown
 * length costs what it holds. Pages that nobody touches cost nothing.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_REGION_H
#define TOKENS_REGION_H

#include <stddef.h>

/* All zero is an empty one. */
struct region {
    char *base; // of the newest block, [cap]
    size_t cap, used;
    void *blocks; // the older ones, in a list
    size_t n_blocks;
};

/* Makes the first block as large as what will be needed, by a guess. Only once, on an empty one. */
void region_begin(struct region *r, size_t guess);
/* n zeroed bytes, aligned to 64, until region_free. */
void *region_take(struct region *r, size_t n);
/* The last piece taken, of n bytes, made longer or shorter; it may move. What is added and was
 * never in use is zero. */
void *region_grow(struct region *r, void *last, size_t n, size_t new_n);
void region_free(struct region *r);

#endif
