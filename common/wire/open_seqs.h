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

struct open_seq {
    uint32_t number;
    uint32_t *ids; // [n] of the positions from start on: 0, but for a fork, whose copied ids are
                   // not said again
    size_t start, n;
};

struct open_seqs {
    struct open_seq *seqs; // [n], in no order
    size_t n, cap;
};

/* Takes note of OPEN, IDS, FAILED and CLOSED frames. -1 (EXIT_DATA) where a sequence is opened
 * twice, or where rows come of one that is not open. */
int open_seqs_take(struct open_seqs *r, const struct frame *f, struct err *e);
const struct open_seq *open_seqs_find(const struct open_seqs *r,
                                      uint32_t number); // NULL where it is not open
bool open_seqs_id(const struct open_seq *s, size_t pos,
                  uint32_t *id); // the id at pos; false where it is not known
void open_seqs_free(struct open_seqs *r);

#endif
