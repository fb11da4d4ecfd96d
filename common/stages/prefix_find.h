/* The chunks of an index that are nearest to a question, for the two forms of vec-prefix.
 *
 *     question -> embedder -> vector -> search -> chunks by id -> two JSON arrays -> template
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_PREFIX_FIND_H
#define STAGES_PREFIX_FIND_H

#include "stages/prefix.h"
#include "wire/vectors.h"

/* All zero but for job. */
struct prefix_finder {
    const struct prefix_job *job;
    struct vectors_reader *reader;
    struct vectors_header header;
    struct buf chunks; // a JSON array of objects with text and keys, for the template
    struct buf cite;   // a JSON array with source, score and keys
    struct buf line;
};

/* Fills chunks and cite for a question, which is not empty. 1; 0 with `why` where the question gets
 * no vector; -1 with e set where no other question can be answered. */
int prefix_find(struct prefix_finder *f, struct str question, struct buf *why, struct err *e);

/* The template with the variables chunks, question and system -> out, and a byte of trust for each
 * byte of it (jinja.h), or NULL. -1 with e set (EXIT_DATA). */
int prefix_render(struct prefix_finder *f, const struct jinja_template *t, struct str question,
                  struct str system, struct buf *out, struct buf *trust, struct err *e);

/* Closes job's to_embedder. */
void prefix_finder_free(struct prefix_finder *f);

#endif
