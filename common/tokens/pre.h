/* Pre-tokenizers: how text is split into the words that the model sees. One file a kind (pre_*.c).
 *
 * Steps run depth first: a step hands each word on to the next step as soon as it has found it, the
 * last one to the model, so no list of words is ever made.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_PRE_H
#define TOKENS_PRE_H

#include "base/err.h"
#include "base/json.h"
#include "tokens/text.h"

struct pre_run;

struct pre {
    const struct pre_kind *kind;
    void *data; // the kind's own, made by load
};

struct pre_kind {
    const char *type; // as tokenizer.json names it
    void *(*load)(
        struct json *j); // reads the object that j stands before; NULL with j refused, or for none
    void (*unload)(void *data);
    /* Splits p and calls pre_next for each word. -1 with the run's error set. */
    int (*split)(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p);
};

/* A Sequence is flattened. */
struct pres {
    struct pre *steps; // [n]
    size_t n;
    bool byte_level; // the last step was ByteLevel: words are handed on as bytes, not spelt in the
                     // byte alphabet
};

void pres_load(struct pres *p, struct json *j); // the value that j stands before; null is none
void pres_free(struct pres *p);

/* One text on its way through the steps. */
struct pre_run {
    const struct pres *pres;
    struct tok_text *work;                                // [pres->n] for steps that change text
    bool track;                                           // where bytes came from (see text.h)
    int (*word)(void *ctx, const struct tok_piece *word); // the model
    void *ctx;
    struct err *e;
};

int pre_begin(struct pre_run *run, const struct tok_piece *p);
int pre_next(struct pre_run *run, size_t step,
             const struct tok_piece *word); // what `step` found; empty words are dropped

/* What becomes of the matches of a pattern (the reference's SplitDelimiterBehavior). */
enum behavior {
    BEHAVIOR_REMOVED,
    BEHAVIOR_ISOLATED,
    BEHAVIOR_PREVIOUS,
    BEHAVIOR_NEXT,
    BEHAVIOR_CONTIGUOUS
};

enum behavior pre_behavior_load(struct json *j);

/* Takes a text's stretches in order, each a match or not, and hands on the words that the behavior
 * makes of them. */
struct splitter {
    struct pre_run *run;
    size_t step;
    const struct tok_piece *p;
    enum behavior behavior;
    bool pending, last_match;
    size_t start, end; // the pending word
};
struct splitter pre_splitter_begin(struct pre_run *run, size_t step, const struct tok_piece *p,
                                   enum behavior b);
int pre_splitter_add(struct splitter *s, size_t start, size_t end, bool match);
int pre_splitter_end(struct splitter *s);

/* Splits p at the characters for which uni_bits has one of these bits. */
int pre_split_chars(struct pre_run *run, size_t step, const struct tok_piece *p, unsigned bits,
                    enum behavior b);

extern const struct pre_kind pre_byte_level, pre_split, pre_metaspace, pre_digits, pre_punctuation,
    pre_whitespace, pre_whitespace_split, pre_bert, pre_char_delimiter, pre_unicode_scripts,
    pre_fixed_length;

#endif
