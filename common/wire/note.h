/* The text of a NOTE frame of logits(5): how much of a prompt the engine had cached.
 *
 *     cached=8640 match=8703 ours=1402 theirs=1399
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_NOTE_H
#define WIRE_NOTE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct note {
    uint32_t cached; // positions that were not computed
    bool has_match;  // the attribute was cache=why, and the engine may say it
    uint32_t match;  // the first ids that are the same in the cache
    bool has_ours;   // the prompt goes on there: with this id
    bool has_theirs; // the cache goes on there: with this id
    uint32_t ours, theirs;
};

/* Appends the text. */
void note_write(struct buf *out, const struct note *n);

/* Reads a text; other keys are ignored. -1: EXIT_DATA, a value is no number. */
int note_read(struct note *n, struct str text, struct err *e);

#endif
