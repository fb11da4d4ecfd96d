/* llm-forward's input: lines of tokens(5) as prompts, without ever waiting.
 *
 * A line that cannot be run (empty, an id past the vocabulary, longer than the context, or failed
 * before it came here) is given out with the reason. Bad bytes end the input: that line is given
 * out as failed, and input_code says the exit code.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_INPUT_H
#define STAGES_INPUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/logits.h"

struct job_prompt {
    uint32_t number;     // of the line, from 0
    const uint32_t *ids; // [n_ids], good until the next call
    uint32_t n_ids;
    struct str attrs;
    struct str refused; // why it cannot be run; n = 0 where it can
    bool said_before;   // refused by an earlier program, which has said so
};

struct input;

/* name is for messages. fd stays the caller's. */
struct input *input_new(int fd, const char *name);
void input_free(struct input *in);

/* The fd, where reading from it may bring a prompt; -1 behind the end. */
int input_poll_fd(const struct input *in);
/* One read, which does not wait where poll has said that input_poll_fd is readable. */
void input_fill(struct input *in);

/* True once the stream's header line, if any, is known: then input_check refuses (EXIT_DATA) what
 * was made with another tokenizer than h says. h->tokenizer is taken from the stream where h has
 * none. A vocabulary that is larger than h's is no error, since each id is checked; where no
 * tokenizer is named, it is warned about. */
bool input_begun(struct input *in);
int input_check(const struct input *in, struct logits_header *h, struct err *e);

/* The next whole line that is already here, checked against h. */
bool input_next(struct input *in, const struct logits_header *h, struct job_prompt *p);
bool input_ended(const struct input *in); // nothing more will come
int input_code(const struct input *in);   // EXIT_DONE, or why the input ended early

#endif
