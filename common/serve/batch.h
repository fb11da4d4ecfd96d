/* One flat batch: which rows of which sequences run in the next step.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_BATCH_H
#define SERVE_BATCH_H

#include <stddef.h>
#include <stdint.h>

#include "model/model.h"
#include "serve/seqs.h"

enum { BATCH_SHORT = 32 }; // a request of up to so many ids is run whole, before any prompt

/* Rows of one sequence, which stand together in the batch. */
struct part {
    uint32_t slot;
    uint32_t n_rows;
    uint32_t n_want; // its last n_want rows
};

struct batch {
    size_t max_rows, max_want; // max_want > 0 also bounds memory: a row of logits can be a MB
    struct row *rows;          // [n_rows], room for max_rows
    struct part *parts;        // [n_parts], room for a part a slot
    uint32_t *share;           // [n_queue] rows dealt to each, while the batch is built
    size_t n_rows, n_want, n_parts;
    size_t n_prompt_rows; // of prompts and long requests
};

void batch_init(struct batch *b, size_t max_rows, size_t max_want, size_t max_parts);
void batch_free(struct batch *b);

/* What stands in q's run queue: rows of short requests, and how many sequences have others. */
void batch_count(const struct seqs *q, size_t *short_rows, size_t *n_long);

/* Fills the batch from q's run queue: short requests whole, longest waiting first, then up to
 * prompt_rows rows of the rest. Of those the longest waiting gets half of what is left, the next
 * half of the remainder, and so on: a short prompt behind a long one is not kept waiting, and the
 * long one still gets on. */
void batch_build(struct batch *b, const struct seqs *q, size_t prompt_rows);

#endif
