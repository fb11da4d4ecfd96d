/* The texts of a model's special tokens by their role: bos_token, eos_token.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CHAT_TOKEN_TEXT_H
#define CHAT_TOKEN_TEXT_H

#include <stdbool.h>

#include "base/mem.h"

/* Sets out to the text of the token `name` ("bos_token"), from the model folder's
 * tokenizer_config.json or special_tokens_map.json. False if neither file gives one. */
bool chat_token_text(const char *dir, const char *name, struct buf *out);

#endif
