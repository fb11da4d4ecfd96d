/* One answer: the pipe tok-encode | llm-forward | llm-sample | tok-decode, inside a server.
 *
 *     body -> record -> a line of tokens(5) -> the engine
 *     the engine -> logits(5) -> sampler (a thread) -> tokens(5) -> text -> generate_sink
 *
 * The engine is a resident llm-forward, which gets descriptors as from any client
 * (stages/resident_client.h). So an answer has the bytes that the four programs give for the same
 * line of tokens(5).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_GENERATE_H
#define SERVE_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "serve/body.h"
#include "serve/served.h"

/* Where an answer goes. */
struct generate_sink {
    void *ctx;
    /* More text of the answer, never a part of a character. -1: nobody wants it any more. */
    int (*text)(void *ctx, struct str text);
    /* Whether the client has left. It is asked between tokens, and at least every tenth of a
     * second. */
    bool (*left)(void *ctx);
};

struct generate_result {
    char finish[16]; // "eos", "stop" or "length"
    uint64_t prompt_tokens, completion_tokens;
};

enum { GENERATE_LEFT = 1 };

/* Appends the prompt of a body to line, as a stream of tokens(5) with one sequence. Its attributes
 * are all that the answer depends on. -1 with e set: EXIT_DATA if the request is at fault. */
int generate_prompt(const struct served *m, const struct body *b, struct buf *line, struct err *e);

/* The number of ids of the prompt. Errors are those of generate_prompt. */
int generate_count(const struct served *m, const struct body *b, uint64_t *n, struct err *e);

/* Answers that stream. 0 with r filled; GENERATE_LEFT; -1 with e set: EXIT_DATA or EXIT_USAGE if
 * the request is at fault. */
int generate(const struct served *m, struct str line, const struct generate_sink *sink,
             struct generate_result *r, struct err *e);

#endif
