/* Pre-tokenizers: splitting the text into the words that the model encodes.
 *
 * A tokenizer has a list of steps; the kinds are in pre_*.c, each a struct pre_kind. A step passes
 * each word to the next step as soon as it has found it, and the last step passes it to the model.
 * So no list of words is built:
 *
 *     Split on white space    "it's 2026"  ->  "it's"  "2026"
 *       Digits                "2026"       ->  "2"  "0"  "2"  "6"
 *         model               encodes each word
 *
 * A Sequence in tokenizer.json becomes part of the flat list.
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
    // Reads the next object of j. NULL if the kind has no data, or with j refused.
    void *(*load)(struct json *j);
    void (*unload)(void *data);
    /* Splits p and calls pre_next for each word. Returns -1 with the run's error set. */
    int (*split)(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p);
};

/* A Sequence is flattened into this list. */
struct pres {
    struct pre *steps; // [n]
    size_t n;
    // The last step is ByteLevel: words reach the model as bytes, not in the byte alphabet.
    bool byte_level;
};

// Reads the next value of j; null means no pre-tokenizer.
void pres_load(struct pres *p, struct json *j);
void pres_free(struct pres *p);

/* One text while it runs through the steps. */
struct pre_run {
    const struct pres *pres;
    struct tok_text *work; // [pres->n] for steps that change text
    bool track;            // whether to record where bytes came from (text.h)
    int (*word)(void *ctx, const struct tok_piece *word); // receives each word
    void *ctx;
    struct err *e;
    struct regex_work *regex; // see regex.h
};

int pre_begin(struct pre_run *run, const struct tok_piece *p);
// Passes on a word that `step` found; empty words are dropped.
int pre_next(struct pre_run *run, size_t step, const struct tok_piece *word);

/* How the matches of a pattern become words (the reference's SplitDelimiterBehavior). With matches
 * of "-" in "a-b": */
enum pre_behavior {
    BEHAVIOR_REMOVED,   // "a" "b"
    BEHAVIOR_ISOLATED,  // "a" "-" "b"
    BEHAVIOR_PREVIOUS,  // "a-" "b": merged with the word before
    BEHAVIOR_NEXT,      // "a" "-b": merged with the word after
    BEHAVIOR_CONTIGUOUS // "a" "-" "b": a run of matches is one word
};

enum pre_behavior pre_behavior_load(struct json *j);

/* Takes the parts of a text in order, each a match or not, and passes on the words that the
 * behavior makes of them. */
struct pre_splitter {
    struct pre_run *run;
    size_t step;
    const struct tok_piece *p;
    enum pre_behavior behavior;
    bool pending, last_match;
    size_t start, end; // the pending word
};
struct pre_splitter pre_splitter_begin(struct pre_run *run, size_t step, const struct tok_piece *p,
                                       enum pre_behavior b);
int pre_splitter_add(struct pre_splitter *s, size_t start, size_t end, bool match);
int pre_splitter_end(struct pre_splitter *s);

/* Splits p at the characters for which uni_bits has one of these bits. */
int pre_split_chars(struct pre_run *run, size_t step, const struct tok_piece *p, unsigned bits,
                    enum pre_behavior b);

extern const struct pre_kind pre_byte_level, pre_split, pre_metaspace, pre_digits, pre_punctuation,
    pre_whitespace, pre_whitespace_split, pre_bert, pre_char_delimiter, pre_unicode_scripts,
    pre_fixed_length;

#endif
