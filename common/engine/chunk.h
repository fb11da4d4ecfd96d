/* How many rows of prompts go into a step, so that sequences that are decoding wait little.
 *
 * A step of few rows takes the time of reading the weights; each row of a prompt adds to it. Both
 * times are learned from earlier steps. The choice changes who waits. It does not change results.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENGINE_CHUNK_H
#define ENGINE_CHUNK_H

#include <stdbool.h>
#include <stddef.h>

enum {
    CHUNK_KINDS = 13,     // steps without prompts, by rows: up to 1, 2, 4 ... 4,096
    CHUNK_FIRST = 128,    // rows of prompts in a step of prompts only, until the speed is known
    CHUNK_REMEASURE = 64, // steps with rows of prompts until a step without is measured again
};

struct chunk {
    double step[CHUNK_KINDS]; // seconds of a step without rows of prompts; 0: not known
    double row;               // seconds that a row of a prompt adds to such a step; 0: not known
    double alone;             // seconds a row in a step of prompts only; 0: not known
    size_t last;              // rows of prompts in the last step that had some
    double room;              // seconds by which that step was shorter than its limit
    size_t since;             // steps with rows of prompts since one without
};

/* A step has run, with these rows of prompts and other rows. */
void chunk_note(struct chunk *p, size_t n_prompt_rows, size_t n_others, double seconds);

/* Rows of prompts for the next step, at most `most`. n_others: other rows in that step. waited_for:
 * other sequences are decoding, even if they have no rows in it. 0: a step of the others alone is
 * to be measured first. */
size_t chunk_rows(const struct chunk *p, size_t n_others, bool waited_for, size_t most);

/* Seconds of a step of n_rows without prompts, or of the nearest known size; 0: none is known. */
double chunk_step(const struct chunk *p, size_t n_rows);

#endif
