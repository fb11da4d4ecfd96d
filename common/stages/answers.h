/* The sequences of one logits(5) stream and their answers in tokens(5).
 *
 * Line k of the output answers line k of the input, in whatever order frames arrive. The first
 * unfinished sequence is written as it grows; later ones wait in memory. The output does not depend
 * on when it was written.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_ANSWERS_H
#define STAGES_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "sample/params.h"

enum answer_state { ANSWER_OPEN, ANSWER_DONE, ANSWER_FAILED };

struct answer_text;

struct answer {
    const struct sample_params *params; // answers.params, or its own
    struct buf attrs;                   // as the stream has them, and "continues"
    struct answer_text *text;           // where it has stop texts, else NULL; owned
    uint32_t number;                    // of the sequence
    uint32_t *ids;                      // [n], the first n_prompt are the prompt
    size_t n, cap, n_prompt;
    enum answer_state state;
    const char *finish; // ANSWER_DONE: "eos", "stop", "length" or "cut"
    char *reason;       // ANSWER_FAILED; owned
    struct buf note;    // more of its results: what was cached of the prompt
    bool continues;     // a prompt's text comes before it
    bool more;          // another id will follow the last
    /* private: */
    bool begun;
    size_t n_written;  // ids
    size_t bytes;      // of its memory, counted in answers.bytes
    size_t text_bytes; // the part of it that is the text's
};

struct answers {
    bool echo;   // write the prompt's ids too; otherwise answers get the attribute continues=1
    int32_t bos; // a prompt of this id alone has no text to continue; -1: none
    FILE *out;
    bool terminal; // out is one: controls of attributes and reasons are shown escaped
    const struct sample_params *params; // of answers that do not set their own
    struct answer **items; // [begin + n] of cap; from `begin` on those of the sequences from
                           // `first` on; NULL if not opened yet
    uint32_t first;
    size_t begin, n, cap;
    size_t bytes; // of all answers
};

/* A new answer for sequence `number`, owned by a. NULL with e set (EXIT_DATA) if the sequence has
 * one, or is too far after the first unfinished one, or if the answers that wait take too much
 * memory. Its params are a->params. */
struct answer *answers_open(struct answers *a, uint32_t number, const uint32_t *ids, size_t n_ids,
                            struct str attrs, struct err *e);
/* NULL if it has not been opened, or has been written already. */
struct answer *answers_find(const struct answers *a, uint32_t number);

/* Gives s a copy of p, unless p is equal to its params. */
void answers_set_params(struct answers *a, struct answer *s, const struct sample_params *p);
void answers_add_ids(struct answers *a, struct answer *s, const uint32_t *ids, size_t n);
/* Counts the memory of s->text, which has changed. */
void answers_count_text(struct answers *a, struct answer *s);
void answers_fail(struct answer *s, struct str reason);

/* Writes what can be written in order, flushes, and frees what is finished. -1 (EXIT_IO) if out
 * takes no more. */
int answers_write(struct answers *a, struct err *e);
void answers_free(struct answers *a);

#endif
