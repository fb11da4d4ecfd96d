/* A loaded tokenizer, for the files that load it and run it.
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
#include "tokens/tokenizer.h"

struct tokenizer {
    struct map file;
    struct json json; // its strings live as long as the tokenizer
    struct str bytes; // of tokenizer.json
    bool hashed;
    uint64_t fingerprint; // if hashed
    struct added added;
    struct norms norms;
    struct pres pres;
    struct tok_model model;
    struct posts posts;
    struct decs decs;
    size_t truncation;  // most ids, special ones included; 0: none
    bool truncate_left; // what is cut is the beginning
    bool pads;
    uint32_t vocab_size;
    uint32_t *added_ids; // [n_added_ids] index into added.tokens by id, NO_ID for none
    uint32_t n_added_ids;
    unsigned char *special; // [vocab_size] decoding leaves this id out
    bool needs_track;       // a step asks where its text began
};

/* The text that an id decodes from: p is NULL where there is no such id. */
struct str tokenizer_text(const struct tokenizer *t, uint32_t id);

#endif
