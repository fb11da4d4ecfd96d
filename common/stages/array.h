/* llm-inspect --npy: the rows of a logits(5) stream as one array, and an index beside it.
 *
 * Rows are ordered by sequence; those of one sequence stay in the order of the stream. Line i of
 * the index, a JSON object, says what row i of the array is:
 *
 *     {"seq": 0, "pos": 4, "after": 17, "layers": [0, 6], "attrs": {"id": "q1"}}
 *
 * Both files appear under their names when they are complete.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_ARRAY_H
#define STAGES_ARRAY_H

#include <stdbool.h>

#include "base/err.h"
#include "model/hidden.h"
#include "wire/logits.h"
#include "wire/open_seqs.h"

struct array_options {
    const char *npy_path, *index_path; // index_path NULL: no index
    bool hidden;                       // hidden states [rows, hidden_dim] in place of logits
    struct hidden_layers layers;       // with hidden: these; n = 0: all that the stream has
};

struct array;

/* Hidden states of several layers give an array [rows, layers, hidden_dim]. o and h outlive the
 * array. NULL with e set. */
struct array *array_open(const struct array_options *o, const struct logits_header *h,
                         struct err *e);

/* Takes the next frame. seqs takes it before, except for the end of a sequence: then after. -1:
 * EXIT_IO, or EXIT_DATA where hidden states of a layer are missing. */
int array_take(struct array *a, const struct frame *f, const struct open_seqs *seqs, struct err *e);

/* The stream is complete. Frees a, also on error. */
int array_commit(struct array *a, const struct open_seqs *seqs, struct err *e);
void array_abort(struct array *a); // removes what was written; NULL: nothing

#endif
