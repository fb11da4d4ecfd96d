/* The text of an answer as its ids come, without the stop text that ends it.
 *
 * The tokenizer's decoder returns text that no later id can change. An answer with stop texts
 * (attribute `ends`, which llm-sample writes) is cut before the first of them. Text that may be the
 * beginning of one is held back until it is known.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_ANSWER_DECODER_H
#define STAGES_ANSWER_DECODER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "tokens/tokenizer.h"

struct answer_decoder; // of one answer after the other, for one thread

/* special: special tokens stay in the text. t outlives the decoder. */
struct answer_decoder *answer_decoder_new(const struct tokenizer *t, bool special);
void answer_decoder_free(struct answer_decoder *d);

/* Before the first id of each answer, whose attributes are attrs. continues: the answer continues a
 * text, also where its attributes do not say so. -1 with e set (EXIT_DATA): `ends` or `begins` is
 * wrong and has no effect. */
int answer_decoder_begin(struct answer_decoder *d, struct str attrs, bool continues, struct err *e);

/* Appends the text that is now certain. Errors are those of decoder_id. */
int answer_decoder_id(struct answer_decoder *d, uint32_t id, struct buf *text, struct err *e);
/* Whether a stop text was found, which *stop gets; it lives until the next call. */
bool answer_decoder_stopped(const struct answer_decoder *d, struct str *stop);
/* Appends what is left of the answer. */
int answer_decoder_end(struct answer_decoder *d, struct buf *text, struct err *e);

#endif
