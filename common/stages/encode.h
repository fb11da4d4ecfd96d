/* The body of tok-encode: records (text, JSON or chats) to lines of tokens(5).
 *
 * Line k of the output is that of record k, with any number of threads. A record that cannot be
 * encoded becomes a "!" line. Output is flushed before the stage waits for input.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_ENCODE_H
#define STAGES_ENCODE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/records.h"
#include "chat/prompt.h"
#include "stages/done.h"
#include "tokens/tokenizer.h"

struct encode_job {
    enum records_kind records;
    struct prompt_options prompt;
    struct encode_options encode;
    struct str before;  // put before each text: an embedding model's prompt; n = 0: nothing
    bool trust_content; // text in messages can become control tokens
    int64_t end_id;     // ends answers to chats, beside the ids that the model names; -1: none
    bool render;        // write the rendered chats, not their ids
    int64_t prefix_id;  // the id in place of an empty context: encode_pair_prefix
    struct done *done;  // records to leave out; NULL: none
    bool offsets;       // write a token a line, with its bytes of the text
    unsigned threads;   // 0 is 1
};

/* Reads records from fd; name is the input's, for messages. t may be NULL with `render`.
 *
 * Returns EXIT_DONE; or EXIT_SOME_FAILED if a record failed, which its line and a warning say; or
 * -1 with e set if the whole input failed, or out takes no more (EXIT_IO). With RECORDS_WHOLE
 * nothing is written before the input is known to be good. */
int stage_encode(const struct encode_job *o, const struct tokenizer *t, int fd, const char *name,
                 FILE *out, struct err *e);

/* The special token that c's template writes after an assistant's message. -1 if there is none, or
 * if the model's generation_config.json or config.json (in dir) names it as an end. */
int64_t encode_turn_end(const struct chat *c, const struct tokenizer *t, const char *dir);

#endif
