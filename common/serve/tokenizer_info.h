/* What /tokenizer_info says of a model's tokenizer, for clients that score or render by themselves
 * (lm_eval's remote tokenizer):
 *
 *     {"tokenizer_class": "...", "bos_token": "<s>", "eos_token": "</s>", "vocab_size": 32000,
 *      "chat_template": "..."}
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_TOKENIZER_INFO_H
#define SERVE_TOKENIZER_INFO_H

#include "base/err.h"
#include "tokens/tokenizer.h"

/* Appends the JSON object, of the folder's tokenizer_config.json and chat_template.jinja. What is
 * not there is null. -1 with e set: a file is bad. */
int tokenizer_info_write(const struct tokenizer *t, const char *dir, struct buf *out,
                         struct err *e);

#endif
