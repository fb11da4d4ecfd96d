/* The body of a request, of OpenAI's APIs or Anthropic's, turned into records of tok-encode.
 *
 *     {"model": "m", "messages": [...], "temperature": 0, "stream": true, "top_k": 20}
 *  -> {"messages": [...], "params": {"temp": 0, "top_k": 20}}
 *
 * Every field is in a table (body_fields.c): it is passed on, read by the server, known and without
 * effect, or refused where its value asks for something that the server does not have. A field that
 * is in no table is refused. Nothing is ignored without a word in the page. The values of sampling
 * parameters are checked here, so that an error names the field of the request.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_BODY_H
#define SERVE_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

enum body_kind {
    BODY_CHAT,       // /v1/chat/completions
    BODY_COMPLETION, // /v1/completions
    BODY_MESSAGES,   // /v1/messages, of Anthropic's API
    BODY_RESPONSES,  // /v1/responses
    BODY_KINDS
};

enum {
    BODY_MAX_TOP = 20,       // alternatives of a token
    BODY_MAX_CHOICES = 128,  // of one prompt
    BODY_MAX_PROMPTS = 1024, // of a request
    BODY_MAX_ANSWERS = 2048, // prompts times choices
    BODY_MAX_FIELD = 96,     // bytes of a field's path, with its NUL
    BODY_MAX_ERROR = 64      // bytes of what is shown of a stranger's name
};

struct body_prompt {
    struct str text; // a JSON string, in the request's text; n = 0: ids, or a chat
    uint32_t *ids;   // [n_ids]
    size_t n_ids;
};

/* Values as the request has them, in its text; p is NULL: not given. */
struct body_said {
    struct str instructions, max, temperature, top_p, metadata;
};

struct body {
    enum body_kind kind;
    struct buf record;           // JSON members of a record for tok-encode -j, without the prompt
    struct buf params;           // JSON members of "params": `"top_k": 20, "temp": 1`
    struct body_prompt *prompts; // [n_prompts] a chat has one, which is empty
    size_t n_prompts;
    size_t n_choices; // of each prompt
    char *model;      // NULL: not given
    bool stream;
    bool include_usage; // stream_options.include_usage
    bool has_temp, has_seed;
    uint64_t seed;
    int top;               // alternatives of each log-probability; -1: no log-probabilities
    bool echo;             // the answer begins with the prompt
    bool no_answer;        // max_tokens is 0, but the prompt is scored
    struct body_said said; // what an answer of /v1/responses repeats
    // Not of the body, but of the request:
    bool explain;  // why no more of the prompt was cached
    char salt[33]; // of the prefix cache; "": none
};

/* Reads text [n], which outlives b. -1 with e set (EXIT_DATA): the message says the field's path,
 * and field [BODY_MAX_FIELD] gets the path alone, or "" where the whole body is wrong. Free with
 * body_free in both cases. */
int body_read(struct body *b, enum body_kind kind, struct str text, char *field, struct err *e);
void body_free(struct body *b);

/* The field that has the prompt: "prompt", "messages" or "input". */
const char *body_prompt_field(enum body_kind kind);

/* Name i of the fields that requests of this kind may have, refused ones included only with
 * `refused`; NULL past the last one. */
const char *body_field_name(enum body_kind kind, size_t i, bool refused);

/* Appends the next value of j, a list of token ids, to ids [n], which the caller frees; or refuses
 * it in j. name is the field's, for messages. */
void body_read_ids(struct json *j, const char *name, uint32_t **ids, size_t *n);

/* Appends the next value of j to prompts [n]: a text, a list of ids, or a list of texts or of lists
 * of ids, up to `max` of them; or refuses it in j. Free with body_free_prompts. */
void body_read_prompts(struct json *j, const char *name, size_t max, struct body_prompt **prompts,
                       size_t *n);
void body_free_prompts(struct body_prompt *prompts, size_t n);

#endif
