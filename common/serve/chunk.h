/* How many rows of prompts go into a step, so that sequences that are decoding meanwhile wait
 * little.
 *
 * A step of few rows takes as long as reading the weights does; each row of a prompt adds to it.
 * Both are learned from the steps that were run. What is chosen changes who waits, never what comes
 * out.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_CHUNK_H
#define SERVE_CHUNK_H

#include <stdbool.h>
#include <stddef.h>

enum {
    CHUNK_KINDS = 13,  // of steps without prompts: up to 1, 2, 4 ... 4,096 rows
    CHUNK_FIRST = 128, // rows of prompts in a step that nobody waits for, until the speed is known
    CHUNK_REMEASURE = 64, // steps with rows of prompts until a step without is measured again
};

struct chunk {
    double step[CHUNK_KINDS]; // seconds of a step without rows of prompts; 0: not known
    double row;               // seconds that a row of a prompt adds to such a step; 0: not known
    double alone;             // seconds of a row of a prompt where only such rows run; 0: not known
    size_t last;              // rows of prompts of the last step that had some
    double room;              // seconds that it might have taken longer
    size_t since;             // steps with rows of prompts since one without
};

/* A step has run: rows of prompts, and others. */
void chunk_note(struct chunk *p, size_t n_prompt_rows, size_t n_others, double seconds);

/* Rows of prompts for the next step, at most `most`. n_others: rows that run beside them.
 * waited_for: others are decoding, even if they have no rows in this step. 0 where a step of the
 * others alone is to be measured first. */
size_t chunk_rows(const struct chunk *p, size_t n_others, bool waited_for, size_t most);

/* Seconds of a step of so many rows without prompts, or the nearest that is known; 0 where nothing
 * is. */
double chunk_step(const struct chunk *p, size_t n_rows);

#endif
