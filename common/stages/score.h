/* The program llm-score: the probability of texts, from the logits(5) of their tokens.
 *
 * A sequence of n ids has n - 1 scores. With the attribute from=N only the ids from N on are
 * scored. The logits of every position before a scored id must be there. Ids that a sampler
 * appended are not scored. Line k of the output scores sequence k.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_SCORE_H
#define STAGES_SCORE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"
#include "wire/logits.h"

struct score_job {
    bool json, tokens;                  // options --json and --tokens
    const struct logits_header *header; // of the stream
};

/* Reads the stream to its end and prints the scores to out. The exit code, or -1 with e set: the
 * stream is malformed or lacks logits (EXIT_DATA), or out takes no more (EXIT_IO). */
int stage_score(const struct score_job *o, struct logits_reader *in, FILE *out, struct err *e);

#endif
