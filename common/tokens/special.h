/* The special tokens and the added tokens that the files beside tokenizer.json name, as
 * transformers reads them:
 *
 *     tokenizer_config.json     "bos_token": "<s>", "image_token": "<img>", extra_special_tokens,
 *                               added_tokens_decoder {"7": {"content": ...}}, chat_control_tokens
 *     special_tokens_map.json   the same names
 *     added_tokens.json         {"<tool>": 50}
 *
 * added_tokens_decoder makes the other two files irrelevant. Without it, special_tokens_map.json
 * takes precedence over tokenizer_config.json, and added_tokens.json adds tokens. The rules are
 * those of transformers 5.24: PreTrainedTokenizerBase._from_pretrained and
 * TokenizersBackend.__init__.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_SPECIAL_H
#define TOKENS_SPECIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

/* When a token is added after those of tokenizer.json. */
enum special_when {
    SPECIAL_ALWAYS,      // it takes the place of a token with the same text
    SPECIAL_IF_NEW_TEXT, // unless tokenizer.json has an added token with its text
    SPECIAL_IF_NEW_ID    // unless tokenizer.json has an added token with its id
};

/* A token as a file describes it. */
struct special_token {
    struct str content; // p is NULL if there is no such token
    int64_t id;         // where the file gives one
    enum special_when when;
    bool single_word, lstrip, rstrip, normalized, special;
    bool by_default; // the file has no "normalized", which then is !special
};

/* A variable of chat templates, such as bos_token. */
struct special_name {
    struct str name;
    struct special_token token;
};

struct special_tokens {
    struct special_name *names; // [n_names] those that have a token
    size_t n_names;
    struct special_token *added; // [n_added] in the order in which they are added
    size_t n_added;
    bool has_decoder;    // tokenizer_config.json has added_tokens_decoder
    struct str *control; // [n_control] chat_control_tokens
    size_t n_control;
    bool has_control; // the file has chat_control_tokens, which may be empty
    struct arena arena;
};

/* Reads the files of a model folder into s, all zero before. A file that is missing has no tokens.
 * -1 with e set (EXIT_DATA) if a file cannot be parsed. special_tokens_free in both cases. */
int special_tokens_read(struct special_tokens *s, const char *dir, struct err *e);
void special_tokens_free(struct special_tokens *s);

#endif
