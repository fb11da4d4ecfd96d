/* Blocks of sequence state: see state.h and state_blocks.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "model/state_blocks.h"

#include <stdlib.h>

#include "base/mem.h"

enum { CHUNK_BYTES = 4 << 20 }; // least memory taken at a time

/* Runs of n blocks; the last may be incomplete. */
static size_t runs_for(const struct state_group *g, size_t n) {
    return n / g->run + (n % g->run != 0);
}

size_t state_blocks_bytes(const struct state_group *g, size_t n) {
    size_t bytes;
    return mul_size(g->block_bytes * g->run, runs_for(g, n), &bytes) ? bytes : SIZE_MAX;
}

int state_blocks_init(struct state_group *g, struct device *d, size_t max_blocks, size_t run_bytes,
                      struct err *e) {
    size_t bytes, of_layer = run_bytes / g->n_layers;
    of_layer = of_layer < d->ops->kv_run_bytes ? of_layer : d->ops->kv_run_bytes;
    g->device = d;
    g->max_blocks = max_blocks;
    g->run = g->layer_bytes < of_layer ? of_layer / g->layer_bytes : 1;
    g->run = g->run < max_blocks || max_blocks == 0 ? g->run : max_blocks;
    if (!mul_size(g->layer_bytes, g->n_layers, &g->block_bytes) ||
        !mul_size(g->block_bytes, g->run, &bytes) || bytes > SIZE_MAX / 256)
        return err_set(e, EXIT_SYSTEM,
                       "the state of %d positions takes %zu times %zu bytes, more than can be "
                       "addressed",
                       KV_PAGE, g->n_layers, g->layer_bytes);
    return 0;
}

void state_blocks_free(struct state_group *g) {
    if (g->device)
        g->device->ops->kv_free(g->device, &g->memory);
    free(g->refs);
    free(g->free);
    *g = (struct state_group){0};
}

unsigned char *state_part(const struct state_group *g, uint32_t block, size_t index) {
    if (block >= KV_MAPPED)
        return g->mapped + kv_mapped_offset(block) + index * g->layer_bytes;
    return g->memory.base + index * g->run * g->layer_bytes +
           kv_page_offset(g->run, g->run * g->block_bytes, g->layer_bytes, block);
}

/* Takes the bytes of the next blocks, at most n, from the group's own and from what all groups may
 * still take. Returns how many these are. */
static size_t take_room(struct state_group *g, size_t n) {
    size_t before = state_blocks_bytes(g, g->n_blocks), bytes;
    while (n > 0 && state_blocks_bytes(g, g->n_blocks + n) - before > g->own + *g->room)
        n -= n > g->run ? g->run : n;
    bytes = state_blocks_bytes(g, g->n_blocks + n) - before;
    size_t own = bytes < g->own ? bytes : g->own;
    g->own -= own;
    *g->room -= bytes - own;
    return n;
}

/* Memory for the next chunk of blocks. */
static int grow(struct state_group *g, struct err *e) {
    struct device *d = g->device;
    size_t runs = CHUNK_BYTES / g->block_bytes / g->run, more = (runs > 0 ? runs : 1) * g->run;
    more = more < g->max_blocks - g->n_blocks ? more : g->max_blocks - g->n_blocks;
    if (more == 0)
        return err_set(e, EXIT_SYSTEM, "all %zu blocks of sequence state are in use",
                       g->max_blocks);
    if (g->room && (more = take_room(g, more)) == 0)
        return err_set(e, EXIT_SYSTEM,
                       "the memory for keys and values is used up: %zu bytes are left (--kv)",
                       g->own + *g->room);
    size_t n = g->n_blocks + more;
    if (d->ops->kv_grow(d, &g->memory, state_blocks_bytes(g, n),
                        state_blocks_bytes(g, g->max_blocks), e) != 0)
        return -1;
    if (n > g->cap) {
        g->cap = larger(n, g->cap + g->cap / 2);
        g->refs = xreallocarray(g->refs, g->cap, sizeof *g->refs);
        g->free = xreallocarray(g->free, g->cap, sizeof *g->free);
    }
    for (size_t i = more; i-- > 0;) {
        g->refs[g->n_blocks + i] = 0;
        g->free[g->n_free++] = (uint32_t)(g->n_blocks + i);
    }
    g->n_blocks = n;
    return 0;
}

int state_block_new(struct state_group *g, uint32_t *block, struct err *e) {
    if (g->n_free == 0 && grow(g, e) != 0)
        return -1;
    *block = g->free[--g->n_free];
    g->refs[*block] = 1;
    return 0;
}

uint32_t state_block_share(struct state_group *g, uint32_t block) {
    if (block < KV_MAPPED)
        g->refs[block]++;
    return block;
}

void state_block_drop(struct state_group *g, uint32_t *entry) {
    if (*entry < KV_MAPPED && --g->refs[*entry] == 0)
        g->free[g->n_free++] = *entry;
    *entry = STATE_NONE;
}

int state_block_own(struct state_group *g, uint32_t *entry, struct err *e) {
    uint32_t own;
    if (*entry < KV_MAPPED && g->refs[*entry] == 1)
        return 0;
    if (state_block_new(g, &own, e) != 0)
        return -1;
    for (size_t l = 0; l < g->n_layers; l++)
        g->device->ops->kv_copy(g->device, state_part(g, own, l), state_part(g, *entry, l),
                                g->layer_bytes);
    state_block_drop(g, entry);
    *entry = own;
    return 0;
}
