/* SentencePiece's model file (tokenizer.model, spiece.model): the pieces, and the settings that
 * decide how a text is encoded.
 *
 * Format: the message ModelProto of google/sentencepiece, src/sentencepiece_model.proto.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_SP_MODEL_H
#define TOKCONV_SP_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "tokconv/sp_vocab.h"

enum sp_kind { // TrainerSpec.ModelType
    SP_UNIGRAM = 1,
    SP_BPE = 2,
};

struct sp_model {
    struct sp_vocab v; // views into the file; scores are finite
    enum sp_kind kind;
    bool byte_fallback;
    int64_t unk, bos, eos, pad; // ids, -1: none
    struct str unk_piece, bos_piece, eos_piece;
    struct str charsmap; // precompiled; empty: none
    bool dummy_prefix, remove_extra_spaces, escape_spaces;
    bool has_denormalizer;
};

/* Reads the bytes of a file, which must outlive m. 0, or -1 with e set. The caller frees m with
 * sp_model_free, after an error too. Refused: no pieces, a piece that is empty, not UTF-8 or there
 * twice, a score that is not a number, an unknown type, word and character models, and white space
 * as suffix. */
int sp_model_read(struct sp_model *m, const char *name, struct str file, struct err *e);
void sp_model_free(struct sp_model *m);

#endif
