/* Memory for big tables: see region.h. Blocks are mapped, so the kernel zeroes them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // MAP_ANONYMOUS, MAP_NORESERVE

#include "tokens/region.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/big_pages.h"
#include "base/err.h"
#include "base/mem.h"

enum {
    ALIGN = 64,
    MIN_BIG = 1 << 18, // bytes; smaller blocks do not use big pages
};

struct block {
    void *p;
    size_t n;
};

static size_t rounded(size_t n, size_t to) {
    if (n > SIZE_MAX / 4)
        mem_die(n);
    return round_up_size(n, to);
}

static void add_block(struct region *r, size_t n) {
    bool big = n > MIN_BIG;
    size_t cap = rounded(n, big ? BIG_PAGE : 4096);
    char *p = big ? big_pages_map(cap)
                  : mmap(NULL, cap, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!p || p == MAP_FAILED)
        mem_die(cap);
    struct block *blocks = xreallocarray(r->blocks, r->n_blocks + 1, sizeof *blocks);
    blocks[r->n_blocks++] = (struct block){p, cap};
    r->blocks = blocks;
    r->base = p;
    r->cap = cap;
    r->used = 0;
}

void region_begin(struct region *r, size_t guess) {
    add_block(r, guess);
}

void *region_take(struct region *r, size_t n) {
    size_t need = rounded(n ? n : 1, ALIGN);
    if (need > r->cap - r->used)
        add_block(r, need > 2 * r->cap ? need : 2 * r->cap);
    void *p = r->base + r->used;
    r->used += need;
    return p;
}

void *region_grow(struct region *r, void *last, size_t n, size_t new_n) {
    size_t at = (size_t)((char *)last - r->base), need = rounded(new_n, ALIGN);
    if (need <= r->cap - at) {
        r->used = at + need;
        return last;
    }
    void *p = region_take(r, new_n);
    memcpy(p, last, n);
    return p;
}

void region_free(struct region *r) {
    struct block *blocks = r->blocks;
    for (size_t i = 0; i < r->n_blocks; i++)
        munmap(blocks[i].p, blocks[i].n);
    free(blocks);
    *r = (struct region){0};
}
