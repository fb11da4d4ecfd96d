/* How a model folder makes one vector of a text: the files that sentence-transformers keeps beside
 * a model.
 *
 *     modules.json                       the steps, each with its folder
 *     1_Pooling/config.json              how the hidden states of a text become one
 *     2_Dense/config.json                a matrix, and an activation
 *     2_Normalize/                       length 1
 *     sentence_bert_config.json          the longest text, in ids
 *     config_sentence_transformers.json  prompts, and how vectors are compared
 *
 * The files are untrusted. A step or a value that changes results and is not supported is refused
 * by its name. Source: huggingface/sentence-transformers, sentence_transformers/models.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_SENTENCE_H
#define SPEC_SENTENCE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"

/* Poolings, as bits. The vectors of several are concatenated in this order. */
enum pooling {
    POOL_CLS = 1,       // the first position
    POOL_MAX = 2,       // of all positions, value by value
    POOL_MEAN = 4,      // their sum / n
    POOL_MEAN_SQRT = 8, // their sum / sqrt(n)
    POOL_WEIGHTED = 16, // the mean with weights 1, 2, ... n
    POOL_LAST = 32,     // the last position
};

/* The pooling of a name: cls, max, mean, mean-sqrt, weighted, last. 0: none has it. */
unsigned pooling_of(const char *name);
size_t pooling_count(unsigned pools); // how many are in the set

enum sentence_kind { SENTENCE_DENSE, SENTENCE_NORMALIZE };
enum sentence_act { SENTENCE_IDENTITY, SENTENCE_TANH };

/* A step after pooling. */
struct sentence_step {
    enum sentence_kind kind;
    const char *folder; // DENSE: its folder, in the spec's arena
    size_t n_in, n_out;
    bool bias;
    enum sentence_act act;
};

enum sentence_metric { SENTENCE_COSINE, SENTENCE_DOT, SENTENCE_EUCLIDEAN };

enum { SENTENCE_MAX_STEPS = 8, SENTENCE_MAX_DIM = 1 << 20, SENTENCE_MAX_IDS = 1 << 28 };

struct sentence_spec {
    bool present;   // the folder has modules.json
    unsigned pools; // of enum pooling
    size_t dim;     // of hidden states, as the pooling says; 0: it does not
    struct sentence_step steps[SENTENCE_MAX_STEPS];
    size_t n_steps;
    size_t max_ids; // of a text; 0: not given
    enum sentence_metric metric;
    const char *default_prompt; // its name, in the arena; NULL: none
    struct arena mem;
};

/* Reads the files of dir. Without modules.json only the last two are read. Unknown keys add lines
 * to warnings. -1: EXIT_DATA, or EXIT_NO_INPUT where a file cannot be read. End with sentence_free,
 * also after -1. */
int sentence_read(struct sentence_spec *s, const char *dir, struct buf *warnings, struct err *e);
void sentence_free(struct sentence_spec *s);

/* The folders of the steps, as modules.json names them. */
struct sentence_folders {
    const char *names[SENTENCE_MAX_STEPS]; // [n], in the arena
    size_t n;
    struct arena mem;
};

/* Reads dir/modules.json, for a program that copies the folder: steps that are not supported are
 * named too. n is 0 where the file is missing. -1: EXIT_DATA, or EXIT_NO_INPUT where it cannot be
 * read. End with sentence_folders_free, also after -1. */
int sentence_folders(struct sentence_folders *l, const char *dir, struct err *e);
void sentence_folders_free(struct sentence_folders *l);

/* The two parsers of untrusted text alone, for tests. path is for messages. */
int sentence_parse_modules(struct sentence_spec *s, const char *dir, const char *path,
                           struct str text, struct buf *warnings, struct err *e);
int sentence_parse_pooling(struct sentence_spec *s, const char *path, struct str text,
                           struct buf *warnings, struct err *e);
int sentence_parse_dense(struct sentence_step *d, const char *path, struct str text,
                         struct buf *warnings, struct err *e);
int sentence_parse_settings(struct sentence_spec *s, const char *path, struct str text,
                            struct err *e);

/* Appends the prompt of that name in dir/config_sentence_transformers.json to out. -1: EXIT_USAGE,
 * with the names that there are. */
int sentence_prompt(const char *dir, const char *name, struct buf *out, struct err *e);

#endif
