/* What tok-encode does: records of a descriptor, as text, JSON or chats, to lines of tokens(5) on
 * stdout, in order, by one or more threads.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_ENCODE_H
#define SERVE_ENCODE_H

#include <stdbool.h>

#include "base/records.h"
#include "chat/prompt.h"
#include "tokens/tokenizer.h"

struct encode_job {
    enum records_kind records;
    struct prompt_options prompt;
    struct encode_options encode;
    bool trust_content; // text in messages can become control tokens
    int64_t end_id;     // that ends an answer to a chat beside what the model names; -1: none
    bool render;        // the rendered chats, not their ids
    bool offsets;       // a token a line, with its bytes of the text
    unsigned threads;   // 0 is 1
};

/* name is of the input, for messages; t may be NULL where render is set. EXIT_DONE, or
 * EXIT_SOME_FAILED where a record failed (its line says why, and stderr); -1 with e set where the
 * input as a whole is bad. Dies where stdout is full. */
int encode_records(const struct encode_job *o, const struct tokenizer *t, int fd, const char *name,
                   struct err *e);

/* The special token that c's template writes behind an assistant's message, if the model's
 * generation_config.json or config.json (in dir) does not name it as an end; -1: none, or it is
 * named. */
int64_t encode_turn_end(const struct chat *c, const struct tokenizer *t, const char *dir);

#endif
