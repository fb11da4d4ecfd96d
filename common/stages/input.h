/* llm-forward's input: lines of tokens(5) as prompts. It never waits.
 *
 * A line that cannot be run comes out with the reason: it is empty, longer than the context, has an
 * id past the vocabulary, or failed in an earlier program. Bad bytes end the input: their line
 * comes out as failed, and input_code is the exit code.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_INPUT_H
#define STAGES_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/logits.h"
#include "wire/tokens.h"

struct input_prompt {
    uint32_t number;     // of the sequence, from 0
    uint64_t line;       // of the input, from 1; 0 where `refused` has the place
    const char *name;    // of the input
    const uint32_t *ids; // [n_ids], valid until the next call
    uint32_t n_ids;
    struct str attrs;
    struct str refused; // why it cannot be run; n = 0 where it can
    bool said_before;   // an earlier program refused it, and printed why
};

struct input;

/* name is for messages. Both stay the caller's, until input_free. */
struct input *input_new(int fd, const char *name);
void input_free(struct input *in);

/* The fd to poll for reading; -1 after the end. */
int input_poll_fd(const struct input *in);
/* The input is read by this function from now on, as tokens_read_by says. */
void input_read_by(struct input *in, tokens_read_fn *read, void *ctx);
/* Reads once. It does not wait if poll found input_poll_fd readable. */
void input_fill(struct input *in);

/* True once the stream's header line, if it has one, is known. */
bool input_begun(struct input *in);

/* Once input_begun. Refuses (EXIT_DATA) a stream whose header names another tokenizer than h. Sets
 * h->tokenizer from the stream where h has none. A larger vocabulary than h's is no error, because
 * each id is checked; unless both name their tokenizer, `warning`, which is empty before, gets a
 * message. */
int input_check(const struct input *in, struct logits_header *h, struct err *warning,
                struct err *e);

/* Whether input_next would find something that has been read, a whole line or a part of one. */
bool input_pending(struct input *in);

/* The next whole line that has been read, checked against h. False: there is none. */
bool input_next(struct input *in, const struct logits_header *h, struct input_prompt *p);
bool input_ended(const struct input *in); // nothing more will come
int input_code(const struct input *in);   // EXIT_DONE, or why the input ended early

#endif
