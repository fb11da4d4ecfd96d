/* The sequences of one logits(5) stream and their answers in tokens(5): line k out answers line k
 * in, whatever the order in which frames come. The first unfinished sequence is written as it
 * grows; later ones wait in memory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_ANSWERS_H
#define SAMPLE_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/mem.h"
#include "sample/params.h"

enum answer_state { ANSWER_OPEN, ANSWER_DONE, ANSWER_FAILED };

struct answer {
    struct sample_params params;
    struct buf attrs;
    uint32_t number; // of the sequence
    uint32_t *ids;   // [n], the first n_prompt are the prompt
    size_t n, cap, n_prompt;
    enum answer_state state;
    const char *finish; // ANSWER_DONE: "eos", "stop", "length", "cut"
    char *reason;       // ANSWER_FAILED; owned
    bool more;          // another id is to come behind the last
    /* private: */
    bool begun;
    size_t n_written;
};

struct answers {
    bool echo;   // write the prompt's ids too; without them an answer has the attribute continues=1
                 // (tok-decode)
    int32_t bos; // a prompt of this id alone has no text to continue; -1: none
    FILE *out;
    struct answer **items; // [n], of the sequences from `first` on; NULL where not opened yet
    uint32_t first;
    size_t n, cap;
};

/* A new answer for sequence `number`. NULL with e set (EXIT_DATA) where it has one, or is too far
 * ahead. */
struct answer *answers_open(struct answers *a, uint32_t number, const uint32_t *ids, size_t n_ids,
                            struct str attrs, struct err *e);
struct answer *answers_find(const struct answers *a,
                            uint32_t number); // NULL: not opened, or written already

void answer_add(struct answer *s, const uint32_t *ids, size_t n);
void answer_fail(struct answer *s, struct str reason);

/* Writes what can be written in order, and flushes; frees what is finished. -1 (EXIT_IO) where out
 * takes no more. */
int answers_write(struct answers *a, struct err *e);
void answers_free(struct answers *a);

#endif
