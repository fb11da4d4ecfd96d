/* A byte-level vocabulary as ranks: each token's bytes, and when BPE makes it. tiktoken and
 * tekken.json store a vocabulary so. tokenizer.json wants the tokens spelled in GPT-2's byte
 * alphabet, and merges.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_RANKS_H
#define TOKCONV_RANKS_H

#include "tokconv/build.h"

struct ranks {
    const char *name; // of the file, for messages
    struct buf bytes; // of all tokens
    size_t *ends;     // [n] where each token ends in bytes
    uint32_t *ranks;  // [n]
    size_t n, cap;
};

/* Appends a token whose bytes are in base64. where: for messages, as in "line 3". -1 with e set if
 * it is not base64, is empty, or has more than 1,024 bytes, or if there are too many tokens. */
int ranks_add(struct ranks *r, struct str base64, uint64_t rank, const char *where, struct err *e);
void ranks_free(struct ranks *r);

/* Adds tokens [0, n) of r to b, with first_id + rank as ids, and sets b's merges: every cut of a
 * token into two tokens, by rank, then by the ranks of the parts (TikTokenConverter of
 * transformers). With ignore_merges, a word that is a token is that token, as in tiktoken. */
int ranks_build(const struct ranks *r, size_t n, uint32_t first_id, struct tokbuild *b,
                struct err *e);

#endif
