/* Blocks of a group of layers: memory, counts, and the rules of each kind. Private to state*.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_STATE_BLOCKS_H
#define MODEL_STATE_BLOCKS_H

#include "model/state.h"

/* What differs between the kinds. */
struct state_rules {
    size_t span; // positions of a block: a multiple of STATE_REF_SPAN
    /* The first entry of a table that a row at position len reads. */
    size_t (*first)(const struct state_group *g, size_t len);
    /* The most positions, at most len, that a sequence of seq_len positions can go back to if its
     * blocks begin at entry `first`. */
    size_t (*reach)(const struct state_group *g, size_t first, size_t seq_len, size_t len);
    /* Blocks that a sequence of len positions holds after state_advance, at most. */
    size_t (*held)(size_t window, size_t len);
};
extern const struct state_rules state_pages_rules, state_slots_rules;

static inline size_t state_blocks_for(size_t n, size_t span) { // of n positions
    return n / span + (n % span != 0);
}

/* A group without blocks, which can have max_blocks. Its layers and layer_bytes are set. Blocks
 * that are stored together take at most run_bytes, if they are more than one. */
int state_blocks_init(struct state_group *g, struct device *d, size_t max_blocks, size_t run_bytes,
                      struct err *e);
/* Bytes of n blocks, in whole runs; SIZE_MAX if a size_t cannot count them. */
size_t state_blocks_bytes(const struct state_group *g, size_t n);
void state_blocks_free(struct state_group *g);

/* A block with one holder; its bytes are those of its last use. -1: no memory is left. */
int state_block_new(struct state_group *g, uint32_t *block, struct err *e);

/* One more holder, unless the block is STATE_NONE or mapped; returns it. */
uint32_t state_block_share(struct state_group *g, uint32_t block);

/* One holder less; *entry becomes STATE_NONE. */
void state_block_drop(struct state_group *g, uint32_t *entry);

/* Makes *entry a block that has no other holder and can be written, with the same bytes. */
int state_block_own(struct state_group *g, uint32_t *entry, struct err *e);

#endif
