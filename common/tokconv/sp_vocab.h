/* The pieces of a SentencePiece vocabulary, and the merges that follow from their scores.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_SP_VOCAB_H
#define TOKCONV_SP_VOCAB_H

#include <stddef.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/strmap.h"
#include "tokconv/tokjson.h"

enum sp_type { // SentencePiece.Type; GGUF's token_type has the same numbers
    SP_NORMAL = 1,
    SP_UNKNOWN,
    SP_CONTROL,
    SP_USER_DEFINED,
    SP_UNUSED,
    SP_BYTE,
};

struct sp_vocab {
    const char *name;     // of the file, for messages
    size_t n;             // pieces; a piece's id is its index
    struct str *texts;    // [n] views, UTF-8, not empty, all different
    double *scores;       // [n]
    unsigned char *types; // [n] enum sp_type
    struct strmap ids;    // of the pieces
};

/* SentencePiece joins, of all neighbours whose concatenation is a piece, the pair whose piece has
 * the best score; the leftmost of equals. A list of merges has a rank for each way to cut a piece
 * in two, so the ways to cut one piece need an order. Published files differ in it. */
enum sp_order {
    // The longer left part first, then the longer right part; then by ids. Files that were
    // converted from Llama and Gemma have it (generate_merges of transformers 4).
    SP_LONGER_FIRST,
    // By id and by the parts' texts, and only normal pieces take part
    // (build_tokenizer_from_spm_proto of transformers 5).
    SP_TEXT_ORDER,
};

/* Sets *merges to n merges, best first, which the caller frees. Control, unknown, byte and unused
 * pieces never result from a merge, so that text cannot form them. -1 with e set if a score is not
 * a number, a piece has more than 1,024 bytes or there are more than 2^25 merges. */
int sp_merges(const struct sp_vocab *v, enum sp_order order, struct tokjson_merge **merges,
              size_t *n, struct err *e);

#endif
