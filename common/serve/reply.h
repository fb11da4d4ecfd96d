/* Answers in the form of OpenAI's APIs or Anthropic's: whole, as events of a stream, and errors.
 *
 *     data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", ...}
 *     data: [DONE]
 *
 * A request has one or more choices. Their parts may alternate in a stream.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_REPLY_H
#define SERVE_REPLY_H

#include <stdint.h>

#include "base/err.h"
#include "serve/body.h"
#include "serve/generate.h"
#include "serve/reply_logprobs.h"
#include "serve/served.h"

struct reply {
    const struct reply_form *form;
    const struct body *body;
    const struct served *model;
    char id[40];           // "chatcmpl-..." or "cmpl-..."
    char hex[25];          // its last part
    int64_t created;       // seconds since 1970
    struct decoder *piece; // for reply_logprobs.h
    size_t prompt_tokens;  // of the first prompt
    // Of a stream of /v1/responses:
    unsigned sequence; // number of the next event
    struct buf text, logprobs;
};

/* A choice that is complete. */
struct reply_choice {
    struct buf text;
    struct reply_logprobs logprobs;
    struct generate_result result;
};

/* How an API writes answers; each function appends to out. Texts are valid UTF-8. */
struct reply_form {
    const char *id; // what its ids begin with
    void (*whole)(struct reply *r, const struct reply_choice *choices, size_t n, struct buf *out);
    void (*first)(struct reply *r, size_t choice, struct buf *out); // before a choice's first part
    void (*part)(struct reply *r, size_t choice, const struct generate_part *p, struct buf *out);
    void (*end)(struct reply *r, size_t choice, const struct generate_result *g, struct buf *out);
    void (*last)(struct reply *r, const struct generate_result *sum, struct buf *out);
    void (*error)(unsigned status, const char *message, const char *field, const char *code,
                  struct buf *out);
    void (*stream_error)(struct reply *r, unsigned status, const char *message, struct buf *out);
};

extern const struct reply_form reply_forms[BODY_KINDS];

/* A new id, and the time now. body and m outlive r. */
void reply_begin(struct reply *r, const struct body *body, const struct served *m);
void reply_free(struct reply *r);

/* Sums the results of choices: completions count for each, a prompt for its first choice. finish is
 * that of the first. */
void reply_sum(const struct body *b, const struct reply_choice *choices, size_t n,
               struct generate_result *sum);

/* {"error": {...}}, of OpenAI's API. field: the path of what is wrong, or "". status: of HTTP.
 * code: NULL: the status' own. */
void reply_error(unsigned status, const char *message, const char *field, const char *code,
                 struct buf *out);
/* What an error of this status is called. */
const char *reply_error_type(unsigned status);

/* A model, as /v1/models has it. */
void reply_model(const struct served *m, struct buf *out);

/* ---- The forms: reply.c has those of completions ---- */

void reply_messages_whole(struct reply *r, const struct reply_choice *choices, size_t n,
                          struct buf *out);
void reply_messages_first(struct reply *r, size_t choice, struct buf *out);
void reply_messages_part(struct reply *r, size_t choice, const struct generate_part *p,
                         struct buf *out);
void reply_messages_end(struct reply *r, size_t choice, const struct generate_result *g,
                        struct buf *out);
void reply_messages_last(struct reply *r, const struct generate_result *sum, struct buf *out);
void reply_messages_error(unsigned status, const char *message, const char *field, const char *code,
                          struct buf *out);
void reply_messages_stream_error(struct reply *r, unsigned status, const char *message,
                                 struct buf *out);

void reply_responses_whole(struct reply *r, const struct reply_choice *choices, size_t n,
                           struct buf *out);
void reply_responses_first(struct reply *r, size_t choice, struct buf *out);
void reply_responses_part(struct reply *r, size_t choice, const struct generate_part *p,
                          struct buf *out);
void reply_responses_end(struct reply *r, size_t choice, const struct generate_result *g,
                         struct buf *out);
void reply_responses_last(struct reply *r, const struct generate_result *sum, struct buf *out);
void reply_responses_stream_error(struct reply *r, unsigned status, const char *message,
                                  struct buf *out);

#endif
