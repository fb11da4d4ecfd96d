/* The open sequences of a logits(5) stream and their ids, for viewers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_OPEN_SEQS_H
#define WIRE_OPEN_SEQS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/u32_map.h"
#include "wire/logits.h"

struct open_seq {
    uint32_t number;
    uint32_t *ids; // [n] of positions start .. start + n - 1
    size_t start;  // 0, except for a fork: its copied ids are not in the stream again
    size_t n, cap;
    struct buf attrs; // of its OPEN frame
};

struct open_seqs {
    struct open_seq *seqs; // [n], in no order
    size_t n, cap;
    struct u32_map by_number; // index into seqs
};

/* Follows OPEN, IDS, FAILED and CLOSED frames. -1 (EXIT_DATA) if a sequence is opened twice, or if
 * rows come of one that is not open. */
int open_seqs_take(struct open_seqs *r, const struct frame *f, struct err *e);
/* NULL if it is not open. */
const struct open_seq *open_seqs_find(const struct open_seqs *r, uint32_t number);
/* The id at pos; false if it is not known. */
bool open_seqs_id(const struct open_seq *s, size_t pos, uint32_t *id);
void open_seqs_free(struct open_seqs *r);

#endif
