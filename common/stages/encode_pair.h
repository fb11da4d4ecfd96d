/* A context and its continuation as one sequence of ids, for scoring.
 *
 * The ids are those of lm-evaluation-harness (lm_eval/api/model.py, _encode_pair and
 * loglikelihood):
 *
 * - White space at the end of the context belongs to the continuation.
 * - The context's ids come first. Those of context and continuation together follow, without as
 *   many as the context has.
 * - An empty context becomes the model's BOS, or its EOS if it has none.
 * - A text that begins with BOS gets no second one.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_ENCODE_PAIR_H
#define STAGES_ENCODE_PAIR_H

#include "tokens/tokenizer.h"

/* The id in place of an empty context: that of bos_token or eos_token of the model in dir, else
 * the one that the tokenizer puts before a text; -1: there is none. */
int64_t encode_pair_prefix(const struct tokenizer *t, const char *dir);

/* Encodes the pair into *ids; the first *from of them are the context. prefix is that of
 * encode_pair_prefix. -1 with e set (EXIT_DATA): a text cannot be encoded, the context is empty and
 * prefix is -1, or the continuation has no id of its own. */
int encode_pair(struct encoder *en, const struct tokenizer *t, struct str context,
                struct str continuation, const struct encode_options *o, int64_t prefix,
                struct token_ids *ids, size_t *from, struct err *e);

#endif
