/* Answers in the form of OpenAI's API or Anthropic's: whole, as events of a stream, and errors.
 *
 *     data: {"id": "chatcmpl-1", "object": "chat.completion.chunk", ...}
 *     data: [DONE]
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_REPLY_H
#define SERVE_REPLY_H

#include <stdint.h>

#include "base/err.h"
#include "serve/body.h"
#include "serve/generate.h"
#include "serve/served.h"

/* How an API writes answers; each function appends to out. text is valid UTF-8. */
struct reply;
struct reply_form {
    const char *id; // what its ids begin with
    void (*whole)(const struct reply *r, struct str text, const struct generate_result *g,
                  struct buf *out);
    void (*first)(const struct reply *r, struct buf *out); // events before the text
    void (*text)(const struct reply *r, struct str text, struct buf *out);
    void (*last)(const struct reply *r, const struct generate_result *g, struct buf *out);
    void (*error)(unsigned status, const char *message, const char *field, struct buf *out);
    const char *error_event; // what comes before an error in a stream
};

extern const struct reply_form reply_forms[BODY_KINDS];

struct reply {
    const struct reply_form *form;
    enum body_kind kind;
    const struct served *model;
    char id[40];     // "chatcmpl-..." or "cmpl-..."
    int64_t created; // seconds since 1970
    bool usage;      // stream_options.include_usage
};

/* A new id, and the time now. */
void reply_begin(struct reply *r, enum body_kind kind, const struct served *m);

/* {"error": {...}}, of OpenAI's API. field: the path of what is wrong, or "". status: of HTTP. */
void reply_error(unsigned status, const char *message, const char *field, struct buf *out);
/* What an error of this status is called. */
const char *reply_error_type(unsigned status);

/* /v1/models: a list of n models, or one of them. */
void reply_models(const struct served *models, size_t n, struct buf *out);
void reply_model(const struct served *m, struct buf *out);

#endif
