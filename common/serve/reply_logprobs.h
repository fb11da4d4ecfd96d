/* Log-probabilities in answers of OpenAI's APIs.
 *
 *     chat, responses   [{"token": " a", "logprob": -0.1, "bytes": [32, 97], "top_logprobs":
 * [...]}] completions       {"tokens": [...], "token_logprobs": [...], "top_logprobs": [{...}],
 *                        "text_offset": [...]}
 *
 * There is an entry for each token that was sampled, also for one that ends the answer and has no
 * text. A token that is only a part of a character is "bytes:\xe2\x82" in completions.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_REPLY_LOGPROBS_H
#define SERVE_REPLY_LOGPROBS_H

#include "serve/generate.h"

struct reply_logprobs {
    struct buf items; // of the list of chat; "tokens" of completions
    struct buf values, tops, offsets;
};

/* Adds the tokens of a part. piece: a decoder of t that keeps special tokens. */
void reply_logprobs_add(struct reply_logprobs *l, enum body_kind kind, const struct tokenizer *t,
                        struct decoder *piece, const struct generate_part *p);
/* Appends the value of "logprobs" in a choice. */
void reply_logprobs_write(const struct reply_logprobs *l, enum body_kind kind, struct buf *out);
void reply_logprobs_free(struct reply_logprobs *l);

#endif
