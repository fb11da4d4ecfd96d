/* The body of vec-prefix: JSON records with a question, or lines of tokens(5), to the same with the
 * chunks of an index that are nearest to the question before it.
 *
 * The chunks are written in the order of their ids, and the question comes last. So two prompts
 * with the same chunks begin alike, and llm-forward's prefix cache shares that part. A record gets
 * a key "cite" with what is known of each chunk, which comes out of tok-decode -j again.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_PREFIX_H
#define STAGES_PREFIX_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"
#include "index/index.h"
#include "jinja/jinja.h"
#include "kernels/pool.h"
#include "tokens/tokenizer.h"

struct prefix_job {
    const struct index_file *ix;
    struct pool *pool;
    size_t k;
    bool hybrid;
    // Of --template; NULL: the default of texts, chats or tokens.
    const struct jinja_template *template;
    int to_embedder, from_embedder; // JSON lines with "text" go there, vectors(5) come back
};

/* Reads JSON lines from fd. Returns EXIT_DONE; EXIT_SOME_FAILED if a record failed, whose line then
 * has "error" and no prompt; or -1 with e set. to_embedder is closed at the end. */
int stage_prefix(const struct prefix_job *job, int fd, const char *name, FILE *out, struct err *e);

/* Reads lines of tokens(5) of t from fd, and puts ids before those of each line: after the ids that
 * t begins every text with, and the line's own follow. The question is the text of the attribute
 * "question", else that of the line. A line gets the attribute "cite", as a record does; from and
 * begins, which count ids, are raised. A line that fails becomes a "!" line. Otherwise as above. */
int stage_prefix_tokens(const struct prefix_job *job, const struct tokenizer *t, int fd,
                        const char *name, FILE *out, struct err *e);

#endif
