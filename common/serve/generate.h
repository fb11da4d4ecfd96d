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
#include "serve/scores.h"
#include "serve/served.h"

/* ---- The prompt ---- */

struct generate_prompt {
    struct buf line; // a stream of tokens(5) with one sequence: all that the answer depends on
    uint32_t *ids;   // [n_ids] of it
    size_t n_ids;
    struct buf text; // with body.echo: as the request has it, or decoded from its ids
};

/* Encodes prompt i of a body, with the seed of its first choice. -1 with e set: EXIT_DATA if the
 * request is at fault. Free with generate_prompt_free in both cases. */
int generate_prompt(const struct served *m, const struct body *b, size_t i,
                    struct generate_prompt *p, struct err *e);
void generate_prompt_free(struct generate_prompt *p);

/* Appends the line for a choice: that of the prompt, for all but the first with the next seeds. It
 * asks the engine what was cached of the prompt, with the request's salt: see logits(5), NOTE. */
void generate_choice(const struct body *b, const struct generate_prompt *p, size_t choice,
                     struct buf *line);

/* ---- The answer ---- */

struct generate_token {
    uint32_t id;
    size_t offset; // characters of the choice's text before it
    bool scored;   // the first id of a prompt is not
    struct score score;
};

/* More of an answer. */
struct generate_part {
    struct str text;                     // valid UTF-8, may be empty
    const struct generate_token *tokens; // [n] of the text so far, where the request wants them
    size_t n_tokens;
    bool is_prompt; // the echo of the prompt
};

/* Where an answer goes. */
struct generate_sink {
    void *ctx;
    /* -1: nobody wants more. */
    int (*part)(void *ctx, const struct generate_part *part);
    /* Whether the client has left. It is asked between tokens, and at least every tenth of a
     * second. */
    bool (*left)(void *ctx);
    int socket; // the client's, whose end is seen at once; -1: none
    /* The prompt has run. NULL: nothing is to be done then. */
    void (*began)(void *ctx);
};

struct generate_ask {
    struct str line; // of generate_choice
    const struct generate_prompt *prompt;
    int top;        // body.top
    bool echo;      // of the prompt
    bool no_answer; // only the prompt is wanted
};

struct generate_result {
    char finish[16]; // "eos", "stop" or "length"
    uint64_t prompt_tokens, completion_tokens;
    int64_t cached_tokens; // of the prompt; -1: the engine does not say it
    char cache_why[256];   // where the prompt and the cache differ; "": not asked for, or not known
    char *stop_text;       // that ended the answer; NULL: none did. Freed by the caller of generate
};

enum { GENERATE_LEFT = 1 };

/* Answers that stream. 0 with r filled; GENERATE_LEFT; -1 with e set: EXIT_DATA or EXIT_USAGE if
 * the request is at fault. */
int generate(const struct served *m, const struct generate_ask *ask,
             const struct generate_sink *sink, struct generate_result *r, struct err *e);

#endif
