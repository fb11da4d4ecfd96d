/* A GGUF file's vocabulary as a tokenizer.json that gives the same tokens.
 *
 * GGUF holds the tokens with their types, the merges (byte-level BPE, tokenizer.ggml.model "gpt2")
 * or scores (SentencePiece, "llama"), and only the *name* of the pre-tokenizer
 * (tokenizer.ggml.pre). The rest of tokenizer.json is written as in the published file of the model
 * that has this name. An unknown name is refused.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef GGUF_VOCAB_H
#define GGUF_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/strmap.h"
#include "gguf/gguf.h"

enum gguf_token_type { // gguf.md, tokenizer.ggml.token_type
    GGUF_TOKEN_NORMAL = 1,
    GGUF_TOKEN_UNKNOWN,
    GGUF_TOKEN_CONTROL,
    GGUF_TOKEN_USER_DEFINED,
    GGUF_TOKEN_UNUSED,
    GGUF_TOKEN_BYTE
};

struct gguf_vocab {
    const struct gguf *g;
    bool is_spm;          // SentencePiece with scores; else byte-level BPE with merges
    size_t n;             // tokens; trailing "[PAD7]" fillers of the converter are left out
    struct str *tokens;   // [n] views into the mapping, UTF-8, all different
    unsigned char *types; // [n] enum gguf_token_type
    struct strmap ids;    // of the tokens
    const struct gguf_kv *scores, *merges; // whichever is_spm needs
    const struct tokpre *pre;              // byte-level BPE
    int64_t bos, eos, eot, unk, pad;       // ids, -1: none
    bool add_bos, add_eos, space_prefix;
};

/* pre: a name to use instead of tokenizer.ggml.pre, or NULL. 0, or -1 with e set. The caller frees
 * v with gguf_vocab_free; g must outlive it. */
int gguf_vocab_open(struct gguf_vocab *v, const struct gguf *g, const char *pre, struct err *e);
void gguf_vocab_free(struct gguf_vocab *v);

/* Ids of the tokens that end a turn by their texts (<|eot_id|>, <|im_end|> ...), found as in
 * llama.cpp for files whose keys do not name them: up to max, in the order of a fixed list. Returns
 * how many. */
size_t gguf_turn_ends(const struct gguf_vocab *v, int64_t *ids, size_t max);

int gguf_tokenizer_json(const struct gguf_vocab *v, struct buf *out, struct err *e);

/* tokenizer_config.json: special tokens, flags and the chat templates. max_length: of the model; 0
 * if unknown. */
int gguf_tokenizer_config_json(const struct gguf_vocab *v, uint64_t max_length, struct buf *out,
                               struct err *e);

#endif
