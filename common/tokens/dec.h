/* Decoders: turning token texts back into text.
 *
 * A decoder is a chain of stages; the kinds are in dec_*.c, and dec.c lists them. A stage
 * takes tokens and passes tokens on. Tokens run through the chain one by one, so text comes out as
 * soon as no later token can change it:
 *
 *     "<0xC3>" "<0xA9>" "▁b"     ByteFallback -> "é" "▁b"     Metaspace -> "é" " b"
 *
 * Fuse and ByteLevel join all tokens into one long token. They pass it on in parts (more = true). A
 * stage that cannot take parts gets the token when it is complete.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_DEC_H
#define TOKENS_DEC_H

#include <stdbool.h>

#include "base/err.h"
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
    bool parts; // can take a token in parts
    /* Takes a token, or a part of one if `more` is true. Passes its results to dec_next. */
    void (*token)(const void *data, struct dec_run *run, size_t stage, struct str token, bool more);
    /* Ends the sequence: passes on what was held back. May be NULL. */
    void (*end)(const void *data, struct dec_run *run, size_t stage);
};

struct decs {
    struct dec *stages; // [n]
    size_t n;
};

/* Reads the next value of j. null means no decoder: tokens are joined with spaces. */
void decs_load(struct decs *d, struct json *j);
void decs_default(struct decs *d);
void decs_free(struct decs *d);

/* A stage's state in the sequence. */
struct dec_state {
    size_t count;     // tokens seen; starts at 1 if the sequence continues another
    size_t own;       // a number for the kind's use
    bool inside;      // in the middle of a token that comes in parts
    bool continues;   // the sequence continues another
    struct buf bytes; // text that is held back
    // The parts of a token so far, for a stage that cannot take parts.
    struct buf whole;
    struct buf work;
};

/* One sequence while it runs through the stages. */
struct dec_run {
    const struct decs *decs;
    struct dec_state *states; // [decs->n]
    struct buf *out;
    struct regex_work *regex; // of Replace, with a budget for the sequence
    size_t room;              // bytes that Replace may still make in the sequence
    struct err failed;        // code 0: nothing has failed
};

void dec_begin(struct dec_run *run, const struct decs *d); // free with dec_run_free
void dec_reset(struct dec_run *run, bool continues);       // starts the next sequence
/* Both: -1 with run->failed set (EXIT_DATA) if the decoders make too much text of the sequence, or
 * take too long. Until dec_reset the output is then incomplete. */
int dec_token(struct dec_run *run, struct str token);
int dec_end(struct dec_run *run);
/* A copy, which shares the budget of regular expressions with run. */
void dec_copy(struct dec_run *to, const struct dec_run *run); // free with dec_copy_free
void dec_copy_free(struct dec_run *copy);
size_t dec_run_bytes(const struct dec_run *run); // of its memory
void dec_run_free(struct dec_run *run);

/* Passes a token, or a part of one, from stage number `stage` to the next. */
void dec_next(struct dec_run *run, size_t stage, struct str token, bool more);

// Returns the byte that "<0xNN>" spells, or -1 for any other token.
int dec_fallback_byte(struct str token);

extern const struct dec_kind dec_byte_level, dec_byte_fallback, dec_fuse, dec_strip, dec_replace,
    dec_metaspace, dec_wordpiece, dec_bpe, dec_ctc, dec_join;

#endif
