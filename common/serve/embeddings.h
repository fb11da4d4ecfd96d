/* /v1/embeddings: texts or ids to vectors, by a model that this process runs (stages/embedder.h).
 *
 * One request runs at a time; others wait for it. The vectors have the bits that llm-embed gives.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_EMBEDDINGS_H
#define SERVE_EMBEDDINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "serve/body.h"
#include "stages/embedder.h"

/* Opens the model in a folder, and prints its warnings. NULL with e set. */
struct embedder *embeddings_open(const char *dir, size_t n_threads, struct err *e);

/* ---- The body ---- */

enum { EMBEDDINGS_MAX_INPUTS = 2048 };

struct embeddings_body {
    struct body_prompt *inputs; // [n]
    size_t n;
    char *model;       // NULL: not given
    size_t dimensions; // 0: the model's
    bool base64;
};

/* Reads {"input": ..., "model": ..., "encoding_format": ..., "dimensions": ..., "user": ...}. As
 * body_read. */
int embeddings_read(struct embeddings_body *b, struct str text, char *field, struct err *e);
void embeddings_free(struct embeddings_body *b);

/* Appends the answer, whose model is called `name`. -1 with e set: EXIT_DATA if the request is at
 * fault, and field [BODY_MAX_FIELD] has the path. *n_tokens: ids of all inputs. */
int embeddings_run(struct embedder *m, const struct embeddings_body *b, const char *name,
                   struct buf *out, uint64_t *n_tokens, char *field, struct err *e);

#endif
