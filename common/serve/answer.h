/* A request whose answer is generated: its choices, run on several threads, written in the form of
 * the API that was asked. Private to common/serve.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_ANSWER_H
#define SERVE_ANSWER_H

#include "serve/exchange.h"

/* Reads the body of x as `kind` says, and answers, on the thread of the answer. */
void answer_serve(struct exchange *x, enum body_kind kind);

/* /v1/messages/count_tokens: {"input_tokens": 12}. */
void answer_count(struct exchange *x);

/* /tokenize of a body of /v1/chat/completions: the ids of its prompt, and their texts. */
void answer_tokenize(struct exchange *x);

#endif
