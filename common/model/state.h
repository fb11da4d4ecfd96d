/* Sequence state: keys and values, or recurrent state, of all sequences, in blocks that are
 * counted, shared and reused.
 *
 * Layers of one kind, size and window form a group. A block of a group holds a span of positions of
 * all its layers, and each sequence has a table of blocks for each group:
 *
 *     table[p / span] -> the block of position p
 *
 * STATE_PAGES (state_pages.c): a block holds something for each of its positions (keys and values).
 * A row reads the pages of all positions that it sees. With a window, pages that no later row can
 * see are freed, so that a long sequence does not grow.
 *
 * STATE_SLOTS (state_slots.c): a layer keeps a fixed number of bytes a sequence, which each
 * position changes (recurrent state). The block of position p holds the state after the last
 * position of its span that has been computed. A step that begins at a multiple of the span reads
 * the block before, and writes a new one. So a block whose span is complete is a snapshot that
 * no step changes, and a sequence can only go back to snapshots.
 *
 * A fork shares blocks; a shared block is copied before it is written. Memory, addresses and
 * tables grow with what sequences hold, not with the limits. Memory is taken in chunks as blocks
 * are first used. It is reused for later sequences, and may move between steps.
 *
 * Blocks of a few KiB would make a step jump through memory. So `run` blocks are stored together,
 * layer by layer: [runs, n_layers, run, layer_bytes].
 *
 * Blocks may also be in a file that is mapped read-only (state_map). Their numbers are from
 * KV_MAPPED on (kernels.h). They are not counted, take no memory of the budget, and are copied
 * before they are written.
 *
 * Nothing here knows about threads: the owner calls it between steps.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_STATE_H
#define MODEL_STATE_H

#include "backend/ops.h"
#include "base/err.h"

enum state_kind { STATE_PAGES, STATE_SLOTS };

enum {
    STATE_MAX_GROUPS = DEVICE_GROUPS,
    STATE_REF_SPAN = KV_PAGE,     // positions of a state_ref
    STATE_SNAPSHOT = 4 * KV_PAGE, // positions from one snapshot of recurrent state to the next
};
#define STATE_NONE UINT32_MAX // no block

/* The state that one layer needs. */
struct state_layer {
    enum state_kind kind;
    size_t bytes;  // STATE_PAGES: of a page of KV_PAGE positions; STATE_SLOTS: of a sequence
    size_t window; // STATE_PAGES: positions that a row sees; 0: all
};

struct state_limits {
    size_t context;       // most positions of a sequence
    size_t max_sequences; // most that hold blocks at once
    size_t max_rows;      // most positions of one state_extend
    size_t n_refs;        // most state_refs that hold blocks at once
    uint64_t bytes;       // most memory of all blocks; 0: no limit
};

struct state_rules;

struct state_group {
    const struct state_rules *rules; // of its kind
    enum state_kind kind;
    struct device *device;
    size_t window, n_layers;
    size_t layer_bytes; // of one layer's part of a block
    size_t block_bytes; // of all layers
    size_t run;         // blocks that are stored together
    struct kv_memory memory;
    unsigned char *mapped; // block KV_MAPPED; NULL: there are none
    size_t n_blocks;       // that have memory
    size_t max_blocks;     // that can have memory
    size_t *room;          // bytes that any group may still take; NULL: no limit
    size_t own;            // bytes that this one may take besides
    size_t cap;            // of refs and free
    uint32_t *refs;        // [n_blocks] holders of each
    uint32_t *free;        // [n_free] a stack
    size_t n_free;
};

struct state {
    struct device *device; // the owner's; it outlives the state
    struct state_group groups[STATE_MAX_GROUPS];
    size_t n_groups;
    uint8_t *group_of;  // [n_layers]
    uint32_t *index_of; // [n_layers] within its group
    size_t room;        // where state_limits has `bytes`
};

/* All zero is an empty sequence. */
struct state_seq {
    size_t len;                         // positions that have been computed
    uint32_t *tables[STATE_MAX_GROUPS]; // [cap] STATE_NONE: no block
    size_t cap[STATE_MAX_GROUPS];
    size_t first[STATE_MAX_GROUPS], end[STATE_MAX_GROUPS]; // entries that hold blocks
};

/* For the prefix cache: the blocks of the last STATE_REF_SPAN positions before a length. Together
 * with the refs before it, a sequence can begin with them. */
struct state_ref {
    const struct state_ref *before;    // that of STATE_REF_SPAN positions before; NULL: none
    uint32_t blocks[STATE_MAX_GROUPS]; // STATE_NONE: the sequence had no such block, or freed it
};

/* The number of groups that the layers form; it may be more than STATE_MAX_GROUPS. */
size_t state_count_groups(const struct state_layer *layers, size_t n_layers);

/* -1: EXIT_SYSTEM, a block is larger than memory can be; EXIT_BUG, more than STATE_MAX_GROUPS
 * groups. state_free is needed after -1 too. */
int state_init(struct state *s, struct device *d, const struct state_layer *layers, size_t n_layers,
               const struct state_limits *limits, struct err *e);
void state_free(struct state *s);

size_t state_bytes(const struct state *s); // memory taken so far
/* Bytes of blocks that nobody holds, with memory that may still be taken. */
size_t state_free_bytes(const struct state *s);
/* Bytes of r's blocks that nobody else holds. */
size_t state_ref_bytes(const struct state *s, const struct state_ref *r);
/* Bytes that a sequence needs, at most, to have len positions. */
size_t state_needed_bytes(const struct state *s, size_t len);
/* Bytes that a sequence of len positions holds in the layers. */
uint64_t state_sequence_bytes(const struct state_layer *layers, size_t n_layers, size_t len);

/* Where a layer's parts are until the next state_extend: that of a block is at base +
 * kv_page_offset(run, run_stride, bytes, block) of kernels/kernels.h. */
struct state_place {
    size_t group;
    unsigned char *base;
    size_t run, run_stride; // blocks in a run, bytes from run to run
    unsigned char *mapped;  // of blocks in files: at mapped + kv_mapped_offset(block); or NULL
};
struct state_place state_place(const struct state *s, size_t layer);
unsigned char *state_part(const struct state_group *g, uint32_t block, size_t index);

/* Blocks from KV_MAPPED on are in p from now on, which is the caller's, and outlives their use. */
void state_map(struct state *s, unsigned char *p);

/* ---- Sequences ---- */

void state_seq_free(struct state_seq *q); // after state_truncate to 0

/* Makes positions [from, to) writable; from is q->len. -1 (EXIT_SYSTEM): no memory is left. The
 * positions that q has are unchanged then. */
int state_extend(struct state *s, struct state_seq *q, size_t from, size_t to, struct err *e);

/* Positions below len, which state_extend made writable, have been computed now. Frees blocks that
 * no later row needs, except one in each group, so that q can go back a few positions. After a step
 * that failed, a slot may have changed already: a sequence with slots then starts again from 0. */
void state_advance(struct state *s, struct state_seq *q, size_t len);

/* Forgets positions >= len. Returns the length of what is still there, which is q's length now:
 * less than len if blocks that position len needs have been freed or changed. The caller computes
 * the rest again. */
size_t state_truncate(struct state *s, struct state_seq *q, size_t len);

/* `to` (empty) shares the first len positions of from. Returns the length of what is still there,
 * as state_truncate does. */
size_t state_fork(struct state *s, struct state_seq *to, const struct state_seq *from, size_t len);

/* ---- References, for the prefix cache ---- */

/* A ref without blocks, after `before`. */
void state_ref_init(struct state_ref *r, const struct state_ref *before);

/* Adds to r, which is for the first len positions, those of its missing blocks that q has. len is
 * at most q's length. Where it is no multiple of STATE_REF_SPAN, r is the end of a path, and only
 * pages can be added. True if r has no missing block then. */
bool state_keep(struct state *s, const struct state_seq *q, size_t len, struct state_ref *r);

/* Frees r's blocks. */
void state_drop(struct state *s, struct state_ref *r);

/* Whether r and those before it have all that position len needs. r is for the positions up to len,
 * or for some more of the same STATE_REF_SPAN. */
bool state_usable(const struct state *s, const struct state_ref *r, size_t len);

/* q (empty) begins with the first len positions of r, which is usable for them. A page that has
 * more positions than these is shared too, and copied before q writes into it. */
void state_take(struct state *s, struct state_seq *q, const struct state_ref *r, size_t len);

#endif
