/* One flat batch: which rows of which sequences run in the next step.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef ENGINE_BATCH_H
#define ENGINE_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "engine/seqs.h"
#include "model/model.h"

enum { BATCH_SHORT = 32 }; // ids: a request of up to this length runs whole, before any prompt

/* Rows of one sequence, which follow each other in the batch. */
struct batch_part {
    uint32_t slot;
    uint32_t n_rows;
    uint32_t n_want; // the last n_want of its rows give logits
};

struct batch {
    size_t max_rows, max_want; // max_want > 0 also bounds memory: a row of logits can be 1 MB
    struct row *rows;          // [n_rows], room for max_rows
    struct batch_part *parts;  // [n_parts], room for a part a slot
    uint32_t *order;           // [n_queue] places in the run queue; while the batch is built
    uint32_t *share;           // [n_queue] rows for each sequence of the run queue; the same
    uint32_t *count;           // [n_queue + 1]; the same
    size_t n_rows, n_want, n_parts;
    size_t n_prompt_rows; // of prompts and long requests
    size_t n_built;       // batches so far
};

void batch_init(struct batch *b, size_t max_rows, size_t max_want, size_t max_parts);
void batch_free(struct batch *b);

/* Held clients' sequences are left out everywhere: they do not run. */

/* Counts q's run queue: rows of short requests, and sequences with prompts or long requests. */
void batch_count(const struct seqs *q, size_t *short_rows, size_t *n_long);

/* Whether q's run queue has a sequence whose client is not held. */
bool batch_any(const struct seqs *q);

/* Fills the batch from q's run queue. Short requests run whole, longest waiting first. Then come up
 * to prompt_rows rows of the rest, in equal parts for each client that has some. Of a client's
 * part its longest waiting gets half, the next half of the remainder, and so on. So a short prompt
 * after a long one does not wait for all of it, and the long one still advances. Rows that one
 * client does not need go to the others. */
void batch_build(struct batch *b, const struct seqs *q, size_t prompt_rows);

#endif
