/* The ids that a tokenizer puts around every text: [CLS] and [SEP], BOS, or none.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_FRAME_H
#define TOKENS_FRAME_H

#include "tokens/tokenizer.h"

struct token_frame {
    struct token_ids both; // those that begin a text, then those that end it
    size_t n_begin, n_end;
    const uint32_t *begin, *end; // into both
};

/* Frees with token_ids_free(&f->both), also after -1: the tokenizer cannot encode "" or "a". */
int token_frame_find(struct token_frame *f, struct encoder *en, struct err *e);

#endif
