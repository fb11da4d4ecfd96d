/* Writes tokenizer.json, the format of the Hugging Face `tokenizers` library (version 1.0), and the
 * few keys of tokenizer_config.json that go with it.
 *
 * The caller fills a struct tokjson with views of its own: the vocabulary, the merges, the added
 * tokens, and the steps around the model as JSON text. Every importer of another format ends here.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_TOKJSON_H
#define TOKCONV_TOKJSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* A vocabulary may not have more tokens than this. */
#define TOKJSON_MAX_TOKENS (1u << 24)

/* A token of the model. All texts are valid UTF-8 and different. */
struct tokjson_token {
    struct str text;
    uint32_t id;
    double score; // log probability, for Unigram
};

struct tokjson_merge {
    uint32_t left, right; // indices into tokens
};

/* A token that is searched for in the text before the model runs. */
struct tokjson_added {
    struct str text;
    uint32_t id;
    bool special, normalized, lstrip, rstrip, single_word;
};

struct tokjson {
    bool unigram; // else BPE
    const struct tokjson_token *tokens;
    size_t n_tokens;
    const struct tokjson_merge *merges; // best first
    size_t n_merges;
    const struct tokjson_added *added; // by id
    size_t n_added;
    int64_t unk; // index into tokens, -1: none
    bool fuse_unk, byte_fallback, ignore_merges;
    struct buf normalizer, pre_tokenizer, post_processor, decoder; // JSON; empty: null
};

void tokjson_write(const struct tokjson *t, struct buf *out);
/* Frees the four steps. */
void tokjson_free(struct tokjson *t);

/* The parts of tokjson_write, for a caller that has its tokens in another shape. */
void tokjson_head(struct buf *out);
void tokjson_one_added(const struct tokjson_added *a, bool first, struct buf *out);
void tokjson_merge(struct str left, struct str right, bool first, struct buf *out);

/* A post-processor that puts special tokens around a text or a pair of texts. A plan has two
 * characters for each part: b (begin), e (end), A or B (the texts), and the part's type id, as in
 * "b0A0e0". Nothing is written (null) if neither plan has a special token. */
struct tokjson_special {
    struct str text;
    uint32_t id;
};
void tokjson_template(const char *single, const char *pair, struct tokjson_special begin,
                      struct tokjson_special end, struct buf *out);

/* The usual one: BOS before each text, EOS after it, as the flags say. */
void tokjson_bos_eos(bool bos, bool eos, struct tokjson_special begin, struct tokjson_special end,
                     struct buf *out);

/* {"type":"Split",...} at the matches of a regular expression. */
void tokjson_split(struct str regex, struct buf *out);
/* {"type":"ByteLevel",...} as a pre-tokenizer. regex: split by GPT-2's expression first. */
void tokjson_byte_level(bool prefix_space, bool regex, struct buf *out);
/* The same as the decoder. */
void tokjson_byte_level_decoder(struct buf *out);

/* Appends ",\n  \"KEY\": TEXT", a member of tokenizer_config.json. text.p NULL: null. */
void tokjson_member(const char *key, struct str text, struct buf *out);

#endif
