/* An embedding model in this process: a folder of sentence-transformers, from which texts get
 * vectors.
 *
 *     folder -> embedder_open -> embedder_vectors: texts or ids -> vectors [n, dim] f32
 *
 * The vectors have the bits that tok-encode | llm-embed gives. Threads may share an embedder: one
 * call of embedder_vectors runs at a time, and others wait.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_EMBEDDER_H
#define STAGES_EMBEDDER_H

#include "stages/embed_batch.h"
#include "tokens/tokenizer.h"

struct embedder;

/* All zero: what the folder says. */
struct embedder_options {
    size_t n_threads;             // 0: one for each physical core
    size_t batch;                 // most sequences in a batch; 0: 64
    size_t context;               // most ids of a sequence; 0: the folder's or the model's limit
    size_t dim;                   // of the vectors: the first values of each; 0: all
    unsigned pools;               // of enum pooling; 0: the folder's
    bool normalize, no_normalize; // length 1 in any case; without the folder's Normalize
    bool precise;                 // f32 where weights are BF16, too
    enum embed_long is_long;
    enum vectors_dtype dtype; // of the header; 0: f32
    bool texts;               // embedder_vectors will get texts: the tokenizer is opened
    const char *prompt;       // its name in the folder, put before each text; NULL: none
    const char *verify;       // a list of hashes that the weights must have; NULL: none
};

/* Opens dir, a folder. warnings gets a line for each key that has no effect. NULL with e set:
 * EXIT_DATA, EXIT_NO_INPUT, or EXIT_USAGE where an option does not fit the folder. */
struct embedder *embedder_open(const char *dir, const struct embedder_options *o,
                               struct buf *warnings, struct err *e);
void embedder_close(struct embedder *m);

const struct embed_job *embedder_job(const struct embedder *m);
/* The name of the prompt that the folder puts before texts as a rule, or NULL. It is not put there
 * unless `prompt` says so. */
const char *embedder_default_prompt(const struct embedder *m);
/* For -v: "m: bert, 384 values, at most 256 ids, avx512 kernels, 2 threads, f32". */
void embedder_describe(const struct embedder *m, char *text, size_t size);

/* A text, or ids that a tokenizer gave for one. */
struct embedder_input {
    struct str text;     // valid UTF-8
    const uint32_t *ids; // [n_ids]; NULL: the text counts
    size_t n_ids;
};

/* in [n] -> out [n, dim] f32. dim: the first values of each vector, at length 1 where whole vectors
 * have it; 0: all that the header says. *n_tokens gets the ids of all inputs. -1 with e set:
 * EXIT_DATA if an input gets no vector, with its number from 0; EXIT_SYSTEM. */
int embedder_vectors(struct embedder *m, const struct embedder_input *in, size_t n, size_t dim,
                     float *out, uint64_t *n_tokens, struct err *e);

#endif
