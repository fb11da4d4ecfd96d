/* The body of llm-embed: lines of tokens(5) to vectors.
 *
 * Record k out answers line k in. Before the stage waits for input, it runs and writes what it has.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_EMBED_H
#define STAGES_EMBED_H

#include <stdio.h>

#include "base/err.h"
#include "stages/embed_batch.h"
#include "stages/embed_out.h"

/* Reads tokens(5) from fd; name is the input's, for messages. *code gets EXIT_DONE,
 * EXIT_SOME_FAILED, or why the input ended early. -1 with e set: EXIT_DATA, EXIT_SYSTEM or EXIT_IO.
 */
int stage_embed(const struct embed_job *job, const struct embed_form *form, int fd,
                const char *name, FILE *out, int *code, struct err *e);

#endif
