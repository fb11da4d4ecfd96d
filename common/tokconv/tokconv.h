/* Makes a tokenizer.json, and a tokenizer_config.json where there is none, from the tokenizer files
 * of other libraries:
 *
 *     tekken.json                                   mistral-common
 *     tokenizer.model, spiece.model ...             SentencePiece, or tiktoken's ranks
 *     NAME.tiktoken, tiktoken.model                 tiktoken
 *     vocab.json and merges.txt                     GPT-2, Qwen ...
 *
 * The ids are those that transformers gives for the same files. What the files beside them say
 * (tokenizer_config.json ...) is followed: see config.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_TOKCONV_H
#define TOKCONV_TOKCONV_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"

struct tokconv_source {
    char *folder, *file; // owned; file is the path of the vocabulary
    char *merges;        // owned; of vocab.json, else NULL
};

/* Looks in a folder. 1 with s set, 0 if the folder has no such file, or -1. The caller frees s with
 * tokconv_source_free. */
int tokconv_find(const char *folder, struct tokconv_source *s, struct err *e);
/* The same of one file, judged by its name. */
int tokconv_file(const char *path, struct tokconv_source *s, struct err *e);
void tokconv_source_free(struct tokconv_source *s);

/* The result: the texts of two files. */
struct tokconv_result {
    struct buf tokenizer, config;
    bool has_config; // a tokenizer_config.json is there already; config is empty
    size_t n_tokens, n_merges;
    const char *kind; // "SentencePiece" ...
};

/* pre: the pre-tokenizer (tokconv/pre.h) of a source that does not name it; NULL: by the class. */
int tokconv_convert(const struct tokconv_source *s, const char *pre, struct tokconv_result *r,
                    struct err *e);
void tokconv_result_free(struct tokconv_result *r);

#endif
