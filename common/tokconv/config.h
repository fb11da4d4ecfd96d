/* What the files beside a vocabulary say about it: tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json and config.json, each of which may be missing.
 *
 * The two files in the middle are read only where tokenizer_config.json has no
 * "added_tokens_decoder", as transformers 5 does (tokenization_utils_base.py, _from_pretrained).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_CONFIG_H
#define TOKCONV_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum tokconv_role {
    ROLE_BOS,
    ROLE_EOS,
    ROLE_UNK,
    ROLE_SEP,
    ROLE_PAD,
    ROLE_CLS,
    ROLE_MASK,
    N_ROLES,
};
extern const char *const tokconv_role_keys[N_ROLES]; // "bos_token", ...

struct tokconv_token {
    struct str text; // p is NULL: none
    bool given;      // a file has the key, with a text or with null
    bool has_flags;  // a file says what follows
    bool single_word, lstrip, rstrip, normalized, special;
    uint32_t id; // of `added` only
};

struct tokconv_tokens {
    struct tokconv_token *items; // [n]
    size_t n, cap;
};

enum { NOT_GIVEN = -1 }; // of a flag that is else 0 or 1

struct tokconv_config {
    struct arena arena;    // of the texts
    struct str class_name; // tokenizer_class without "Fast"; n is 0: none
    struct str model_type;
    bool exists; // there is a tokenizer_config.json
    int legacy, add_bos, add_eos, prefix_space;
    int64_t extra_ids; // of T5; NOT_GIVEN
    struct tokconv_token named[N_ROLES];
    struct tokconv_tokens extra; // special tokens without a role
    struct tokconv_tokens added; // with ids, in their order
};

/* folder: where the files are. The caller frees c with tokconv_config_free, after an error too. */
int tokconv_config_read(struct tokconv_config *c, const char *folder, struct err *e);
void tokconv_config_free(struct tokconv_config *c);

/* The parsers alone, from text; name is for messages. */
int tokconv_config_json(struct tokconv_config *c, const char *name, struct str text, struct err *e);
int tokconv_special_json(struct tokconv_config *c, const char *name, struct str text,
                         struct err *e);
int tokconv_added_json(struct tokconv_config *c, const char *name, struct str text, struct err *e);

#endif
