/* Sequences of ids to vectors, for llm-embed and embedder.h.
 *
 * Sequences are gathered into batches without padding. A sequence of an encoder is in one batch as
 * a whole; one of a causal model may go through several. A vector's bits do not depend on the
 * batch. Not for several threads at once.
 *
 *     embed_batch_new, embed_batch_add ..., embed_batch_run, embed_batch_add ..., free
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_EMBED_BATCH_H
#define STAGES_EMBED_BATCH_H

#include <stdbool.h>

#include "base/err.h"
#include "model/embed.h"
#include "model/model.h"
#include "wire/vectors.h"

enum embed_long { // what is done with a sequence of more than max_ids
    EMBED_REFUSE,
    EMBED_TRUNCATE, // its first ids, and the ids that end every text
    EMBED_WINDOW,   // the mean of windows, weighted by their ids
};

enum { EMBED_ROWS = 512 }; // of a batch, unless one sequence has more

/* How a sequence becomes a vector. */
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
};

/* The rows that a model needs for sequences of max_ids. */
size_t embed_rows(const struct spec *s, size_t max_ids);

struct embed_sequence {
    void *owner; // the caller's
    uint64_t number;
    const uint32_t *ids; // [n_ids], below the vocabulary's size
    size_t n_ids;
    struct str attrs;
    struct str refused; // why it gets no vector; n = 0: it may get one
    bool said;          // that was printed before
};

/* A sequence with its vector, or with the reason why it has none. */
struct embed_record {
    void *owner;
    uint64_t number;
    size_t n_tokens; // ids of the sequence
    struct str attrs, reason;
    bool failed, said;
};

/* Takes a record; those of a batch come in the order in which they were added. vector: at least
 * [header.dim] f32, NULL if it failed. -1 with e set ends the run. */
typedef int embed_done_fn(void *ctx, const struct embed_record *r, const float *vector,
                          struct err *e);

struct embed_batch;

/* job outlives the batch. */
struct embed_batch *embed_batch_new(const struct embed_job *job, embed_done_fn *done, void *ctx);
void embed_batch_free(struct embed_batch *b); // what has not run is lost

/* Adds a sequence; runs the batch first where it has no room. -1: EXIT_DATA, EXIT_SYSTEM, or what
 * done() says. */
int embed_batch_add(struct embed_batch *b, const struct embed_sequence *q, struct err *e);
/* Runs what was added. */
int embed_batch_run(struct embed_batch *b, struct err *e);

#endif
