/* The body of llm-embed: lines of tokens(5) to vectors.
 *
 * Sequences are gathered into batches without padding. A sequence of an encoder is in one batch as
 * a whole; one of a causal model may go through several. Record k out answers line k in, and its
 * bits do not depend on the batch.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_EMBED_H
#define STAGES_EMBED_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"
#include "model/embed.h"
#include "model/model.h"
#include "wire/npy.h"
#include "wire/vectors.h"

enum embed_long { // what is done with a sequence of more than max_ids
    EMBED_REFUSE,
    EMBED_TRUNCATE, // its first ids, and the ids that end every text
    EMBED_WINDOW,   // the mean of windows, weighted by their ids
};

enum { EMBED_ROWS = 512 }; // of a batch, unless one sequence has more

struct embed_job {
    struct model *model;
    struct embed_steps *steps;
    unsigned pools;          // of enum pooling
    bool normalize;          // carry out the folder's norms
    bool unit;               // the result has length 1
    size_t max_ids;          // of a sequence
    size_t max_batch;        // sequences in a batch; at most the model's
    enum embed_long is_long; // sequences of more than max_ids
    size_t n_begin, n_end;   // ids that begin and end every text: [CLS], [SEP]
    const uint32_t *begin, *end;
    struct vectors_header header; // of the output; dim may be less than the steps' dimension
    uint64_t tokenizer;           // that ids must have been made with; 0: any
    bool json;                    // JSON lines in place of vectors(5)
    struct npy *npy;              // or this file; NULL: none
};

/* The rows that a model needs for sequences of max_ids. */
size_t embed_rows(const struct spec *s, size_t max_ids);

/* Reads tokens(5) from fd; name is the input's, for messages. *code gets EXIT_DONE,
 * EXIT_SOME_FAILED, or why the input ended early. -1 with e set: EXIT_DATA, EXIT_SYSTEM or EXIT_IO.
 */
int stage_embed(const struct embed_job *job, int fd, const char *name, FILE *out, int *code,
                struct err *e);

#endif
