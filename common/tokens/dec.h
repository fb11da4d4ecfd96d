/* Decoders: from token texts back to text. One file a kind (dec_*.c); dec.c knows their names.
 *
 * A decoder is a chain of stages; each takes tokens and hands tokens on. Tokens run through one by
 * one, so text comes out as soon as no later token can change it. Fuse and ByteLevel make one long
 * token of all; it is handed on in parts (more = true), and a stage that cannot take parts gets it
 * when it is whole.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_DEC_H
#define TOKENS_DEC_H

#include <stdbool.h>

#include "base/json.h"
#include "base/mem.h"

struct dec {
    const struct dec_kind *kind;
    void *data; // the kind's own, made by load
};

struct dec_run;

struct dec_kind {
    const char *type; // as tokenizer.json names it
    void *(*load)(struct json *j);
    void (*unload)(void *data);
    bool parts; // takes tokens in parts
    /* Takes a token, or with `more` a part of one. Hands on through dec_next. */
    void (*token)(const void *data, struct dec_run *run, size_t stage, struct str token, bool more);
    /* The end of the sequence: hands on what was kept back. May be NULL. */
    void (*end)(const void *data, struct dec_run *run, size_t stage);
};

struct decs {
    struct dec *stages; // [n]
    size_t n;
};

/* null is the decoder of a tokenizer that has none: its tokens with a space between. */
void decs_load(struct decs *d, struct json *j);
void decs_default(struct decs *d);
void decs_free(struct decs *d);

/* What a stage remembers of the sequence. */
struct dec_state {
    size_t count;     // tokens seen; 1 from the start where the sequence continues another
    size_t kept;      // the kind's own
    bool inside;      // in a token that came in parts
    bool continues;   // see dec_run
    struct buf bytes; // kept back
    struct buf whole; // the parts of a token, for a stage that takes none
    struct buf work;
};

/* One sequence on its way through the stages. */
struct dec_run {
    const struct decs *decs;
    struct dec_state *states; // [decs->n]
    struct buf *out;
};

void dec_begin(struct dec_run *run, const struct decs *d); // takes memory: dec_run_free
void dec_reset(struct dec_run *run, bool continues);       // for the next sequence
void dec_token(struct dec_run *run, struct str token);
void dec_end(struct dec_run *run);
void dec_run_free(struct dec_run *run);

/* What stage number `stage` hands on. */
void dec_next(struct dec_run *run, size_t stage, struct str token, bool more);

int dec_fallback_byte(struct str token); // the byte that <0xNN> is; -1 for any other token

extern const struct dec_kind dec_byte_level, dec_byte_fallback, dec_fuse, dec_strip, dec_replace,
    dec_metaspace, dec_wordpiece, dec_bpe, dec_ctc, dec_join;

#endif
