/* Collects the vocabulary and the added tokens of a tokenizer.json.
 *
 * The vocabulary comes first. Then tokbuild_config adds the special tokens that the files beside it
 * name. A token that the vocabulary has not gets the id that the files give it, else the next one.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_BUILD_H
#define TOKCONV_BUILD_H

#include "base/strmap.h"
#include "tokconv/class.h"
#include "tokconv/tokjson.h"

struct tokbuild {
    const char *name;    // of the source, for messages
    struct arena arena;  // for texts that no file holds
    struct tokjson json; // what will be written; its arrays are those below
    struct tokjson_token *tokens;
    struct tokjson_merge *merges; // owned; the importer sets it
    struct tokjson_added *added;
    struct strmap ids;            // text -> index into tokens
    struct strmap added_ids;      // text -> index into added
    size_t max_tokens, max_added; // room
    unsigned char *used;          // a bit for each id
    uint32_t next_id;             // one more than the largest id
    bool has_role[N_ROLES];       // after tokbuild_config
    struct tokjson_special roles[N_ROLES];
    bool add_bos, add_eos;
};

/* max_tokens: how many tbuild_token calls there may be; max_added: how many tokens may be added
 * before tokbuild_config. The caller frees b with tokbuild_free. */
void tokbuild_init(struct tokbuild *b, const char *name, size_t max_tokens, size_t max_added,
                   const struct tokconv_config *c);
void tokbuild_free(struct tokbuild *b);

/* Adds a token to the vocabulary; text is a view that outlives b. -1 with e set if the text or the
 * id is there already. */
int tokbuild_token(struct tokbuild *b, struct str text, uint32_t id, double score, struct err *e);
/* Adds an added token that the vocabulary has. The first call for a text decides. */
void tokbuild_special(struct tokbuild *b, struct str text, bool special);

/* Adds the tokens of the files: those with ids, then those with roles, then the others. Sets roles,
 * add_bos and add_eos, and sorts the added tokens by id. */
int tokbuild_config(struct tokbuild *b, const struct tokconv_config *c,
                    const struct tokconv_class *k, struct err *e);

/* The post-processor that adds BOS and EOS as add_bos and add_eos say. */
void tokbuild_template(struct tokbuild *b);

/* A tokenizer_config.json for a folder that has none. */
void tokbuild_config_json(const struct tokbuild *b, struct buf *out);

#endif
