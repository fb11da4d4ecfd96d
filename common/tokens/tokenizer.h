/* A loaded tokenizer.json: text to token ids and back, as the Hugging Face `tokenizers` library
 * does it.
 *
 * Encoding runs five steps, each in files of its own:
 *
 *     "Hello<|im_end|>"
 *       added tokens     find "<|im_end|>", whatever the model would do   added.c
 *       normalizers      rewrite the text: NFC, lower case, ...           norm*.c
 *       pre-tokenizers   split it into words                              pre*.c
 *       model            turn a word into ids: BPE, Unigram, ...          model*.c
 *       post-processors  put special tokens such as BOS around the ids    post*.c
 *
 * Decoders (dec*.c) turn ids back into text. A tokenizer never changes after loading, so threads
 * share it. An encoder or a decoder belongs to one thread.
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

enum { TOKENIZER_MAX_FILE = 1 << 30 }; // bytes of tokenizer.json

/* Loads `path`, a file or a folder that has tokenizer.json. Of a folder, the tokens that the files
 * beside it add are read too (special.h). NULL with e set. Threads may share the result. */
struct tokenizer *tokenizer_open(const char *path, struct err *e);
/* The same, and hashes the file on a second thread, for callers that need the fingerprint. */
struct tokenizer *tokenizer_open_hashed(const char *path, struct err *e);
/* The same from n bytes at p, which must outlive the tokenizer. `name` is used in messages. */
struct tokenizer *tokenizer_load(const char *name, const char *p, size_t n, struct err *e);
void tokenizer_free(struct tokenizer *t);
/* Lets added tokens that are not special match in untrusted text too (see encode_options.trusted).
 * Tokens whose text occurs in `sources`, the texts of the chat templates, are excluded: the
 * template gives them a meaning. If tokenizer_config.json has chat_control_tokens, those are
 * excluded instead. Call this before threads share the tokenizer. */
void tokenizer_find_plain(struct tokenizer *t, struct str sources);

// Hashes the file now unless tokenizer_open_hashed did.
uint64_t tokenizer_fingerprint(const struct tokenizer *t);
uint32_t tokenizer_vocab(const struct tokenizer *t); // largest id + 1
/* Returns the token as the vocabulary writes it, for example "Ġthe". p is NULL if there is no such
 * id. */
struct str tokenizer_piece(const struct tokenizer *t, uint32_t id);
/* Appends the bytes of this id alone. A byte-level token gives the bytes that it spells, <0xNN>
 * gives that byte, and any other token gives its own text. */
void tokenizer_bytes(const struct tokenizer *t, uint32_t id, struct buf *out);
// The largest number of ids that the file's "truncation" allows; 0 if it sets none.
size_t tokenizer_truncation(const struct tokenizer *t);
// Whether the file asks for padding. Padding is not implemented.
bool tokenizer_pads(const struct tokenizer *t);
bool tokenizer_is_special(const struct tokenizer *t, uint32_t id);

/* The ids of one text. The memory is reused from call to call. */
struct token_ids {
    uint32_t *ids; // [n]
    size_t n, cap;
    uint32_t (*offsets)[2]; // [n] byte ranges of the input; NULL unless want_offsets
    size_t offsets_cap;
    bool want_offsets;
};
void token_ids_free(struct token_ids *t);

enum truncate_side { TRUNCATE_AS_FILE, TRUNCATE_LEFT, TRUNCATE_RIGHT };

struct encode_options {
    bool no_special;         // add no BOS or EOS
    bool truncate;           // cut to truncate_to ids, BOS and EOS included
    size_t truncate_to;      // 0: the length that the file's "truncation" sets
    enum truncate_side side; // the end that is cut off; of a file that sets none: the right one
    bool split_special;      // special tokens in the text are text, as with split_special_tokens
    /* [text.n] nonzero where a template wrote the byte, zero where a user did. An added token
     * matches only where all of its bytes are nonzero. White space that is not special matches
     * everywhere. NULL trusts the whole text. */
    const uint8_t *trusted;
};

struct encoder; // one thread's working memory
struct encoder *encoder_new(const struct tokenizer *t);
void encoder_free(struct encoder *en);

/* Encodes text, which must be valid UTF-8 and may contain NUL bytes. Returns -1 with e set if the
 * text is too long or has a character that the model cannot encode. A regular expression that
 * exceeds its limits also gives -1. */
int tokenizer_encode(struct encoder *en, struct str text, const struct encode_options *o,
                     struct token_ids *out, struct err *e);
/* The ids of one short text, with BOS and EOS where special is set; none if it cannot be encoded.
 * For many texts an encoder is faster. Free with token_ids_free. */
struct token_ids tokenizer_ids(const struct tokenizer *t, struct str text, bool special);

/* Decodes one id at a time. Each call appends the text that no later id can change, and never part
 * of a character. The appended text adds up to what decoding all ids at once would give. */
struct decoder;
struct decoder *decoder_new(const struct tokenizer *t, bool keep_special);
/* Call this before the first id if the sequence continues a text. Nothing is then removed at its
 * beginning: a SentencePiece decoder would drop the first word's space. */
void decoder_continue(struct decoder *d);
/* An unknown id decodes to nothing. -1 with e set (EXIT_DATA) if tokenizer.json's decoders make too
 * much text of the sequence, or take too long; then out is incomplete. */
int decoder_id(struct decoder *d, uint32_t id, struct buf *out, struct err *e);
/* Appends what decoder_end would append, and changes nothing. As decoder_id. */
int decoder_peek(const struct decoder *d, struct buf *out, struct err *e);
// Appends what is left, and prepares for the next sequence. As decoder_id.
int decoder_end(struct decoder *d, struct buf *out, struct err *e);
size_t decoder_bytes(const struct decoder *d); // of its memory
void decoder_free(struct decoder *d);

#endif
