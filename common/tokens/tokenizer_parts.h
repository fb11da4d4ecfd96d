/* The loaded tokenizer's parts, for the files that load it and run it.
 *
 * Other code uses tokenizer.h, which hides this struct.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_TOKENIZER_PARTS_H
#define TOKENS_TOKENIZER_PARTS_H

#include "base/io.h"
#include "tokens/added.h"
#include "tokens/dec.h"
#include "tokens/model.h"
#include "tokens/norm.h"
#include "tokens/post.h"
#include "tokens/pre.h"
#include "tokens/special.h"
#include "tokens/tokenizer.h"

struct tokenizer {
    struct map file;
    struct json json;                     // owns strings for the tokenizer's life
    struct str bytes;                     // of tokenizer.json
    struct special_tokens special_tokens; // of the files beside it
    bool hashed;
    uint64_t fingerprint; // if hashed
    struct added added;
    struct norms norms;
    struct pres pres;
    struct tok_model model;
    struct posts posts;
    struct decs decs;
    size_t truncation;  // ids allowed, special ones included; 0: no limit
    bool truncate_left; // truncation removes the beginning
    bool pads;
    uint32_t vocab_size;
    // [n_added_ids] index into added.tokens of each id; NO_ID if the id is not an added token
    uint32_t *added_ids;
    uint32_t n_added_ids;
    unsigned char *special; // [vocab_size] nonzero: decoding skips this id
    bool needs_track;       // a step must know where its text came from
};

/* The text that an id decodes from. p is NULL if there is no such id. */
struct str tokenizer_text(const struct tokenizer *t, uint32_t id);

#endif
