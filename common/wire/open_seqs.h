/* The open sequences of a logits(5) stream and the ids of each, for readers that only look.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_OPEN_SEQS_H
#define WIRE_OPEN_SEQS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "wire/logits.h"

struct roll_seq {
    uint32_t number;
    uint32_t
        *ids; // [n] of the positions from start on: 0, but for a fork, whose copied ids are not said again
    size_t start, n;
};

struct roll {
    struct roll_seq *seqs; // [n], in no order
    size_t n, cap;
};

/* Takes note of OPEN, IDS, FAILED and CLOSED frames. -1 (EXIT_DATA) where a sequence is opened twice, or
 * where rows come of one that is not open. */
int roll_take(struct roll *r, const struct frame *f, struct err *e);
const struct roll_seq *roll_find(const struct roll *r, uint32_t number); // NULL where it is not open
bool roll_id(const struct roll_seq *s, size_t pos,
             uint32_t *id); // the id at pos; false where it is not known
void roll_free(struct roll *r);

#endif
