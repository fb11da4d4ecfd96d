/* tokenizer.json, loaded: text to token ids and back, as the Hugging Face `tokenizers` library does
 * it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_TOKENIZER_H
#define TOKENS_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

struct tokenizer;

/* Loads dir/tokenizer.json (path may also be the file itself). NULL with e set. Read-only after:
 * threads may share it. */
struct tokenizer *tokenizer_open(const char *path, struct err *e);
/* The same for who will ask for the fingerprint, which is hashed on a second thread meanwhile. */
struct tokenizer *tokenizer_open_hashed(const char *path, struct err *e);
/* The same from memory, which must stay. name is for messages. */
struct tokenizer *tokenizer_load(const char *name, const char *p, size_t n, struct err *e);
void tokenizer_free(struct tokenizer *t);
/* From now on added tokens that are not special are found in foreign text too
 * (encode_options.trusted), but for those that stand in `sources`, the chat templates: these have a
 * meaning there. Before threads share it. */
void tokenizer_find_plain(struct tokenizer *t, struct str sources);

uint64_t
tokenizer_fingerprint(const struct tokenizer *t); // hashes the file at each call, if it was not yet
uint32_t tokenizer_vocab(const struct tokenizer *t); // largest id + 1
struct str tokenizer_piece(const struct tokenizer *t,
                           uint32_t id); // as in the vocabulary; n = 0, p = NULL: no such id
/* Appends the bytes that the id stands for by itself: of a byte-level tokenizer the bytes that it
 * spells, of <0xNN> the byte, else its piece. */
void tokenizer_bytes(const struct tokenizer *t, uint32_t id, struct buf *out);
size_t
tokenizer_truncation(const struct tokenizer *t); // most ids that "truncation" asks for; 0: none
bool tokenizer_pads(
    const struct tokenizer *t); // whether the file asks for padding, which is not done here
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id);

/* ids of one text; memory is reused from call to call. */
struct token_ids {
    uint32_t *ids; // [n]
    size_t n, cap;
    uint32_t (*offsets)[2]; // [n] byte ranges of the input, or NULL unless want_offsets
    size_t offsets_cap;
    bool want_offsets;
};
void token_ids_free(struct token_ids *t);

struct encode_options {
    bool no_special; // no BOS/EOS from the post-processor
    bool truncate;   // as the file's "truncation" asks for
    /* [n] a byte each, nonzero where a template wrote text[i]; an added token is recognised only
     * where all of its bytes are nonzero, or it is nothing but white space and not special. NULL:
     * everywhere. */
    const uint8_t *trusted;
};

struct encoder; // scratch of one thread
struct encoder *encoder_new(const struct tokenizer *t);
void encoder_free(struct encoder *en);

/* text must be valid UTF-8 (NUL bytes may stand in it). -1 with e set where a regex gives up on a
 * hostile text. */
int tokenizer_encode(struct encoder *en, struct str text, const struct encode_options *o,
                     struct token_ids *out, struct err *e);

/* Decoding, an id at a time: appends to out what has become certain, never a part of a character.
 * The bytes given out by any cut equal those of decoding at once. */
struct decoder;
struct decoder *decoder_new(const struct tokenizer *t, bool keep_special);
/* Call before the first id: the sequence continues a text, so nothing is taken off its beginning (a
 * SentencePiece tokenizer's decoder drops the first word's space). */
void decoder_continue(struct decoder *d);
void decoder_id(struct decoder *d, uint32_t id,
                struct buf *out);                     // an unknown id decodes to nothing
void decoder_end(struct decoder *d, struct buf *out); // flushes; ready for the next sequence
void decoder_free(struct decoder *d);

#endif
