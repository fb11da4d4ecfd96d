/* What the files that read a request's body share. Private to common/serve.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_BODY_READER_H
#define SERVE_BODY_READER_H

#include "serve/body.h"

enum body_field_kind {
    BODY_PARAM,    // a sampling parameter, passed on under the name `to`, or its own
    BODY_TEMPLATE, // passed on to the chat template
    BODY_OWN,      // read by body.c
    BODY_HARMLESS, // has no effect on the answer
    BODY_NOT_YET,  // refused where it asks for something
};

struct body_field {
    const char *name;
    enum body_field_kind kind;
    unsigned in;    // bits of enum body_kind
    const char *to; // the name of a parameter in "params"
};

enum { BODY_N_FIELDS = 69 };
extern const struct body_field body_fields[BODY_N_FIELDS];

struct body_reader {
    struct body *b;
    struct json j;
    char *field; // [BODY_MAX_FIELD] the path of what is wrong
    bool seen[BODY_N_FIELDS];
    bool prompt;                 // there are messages, or a prompt
    struct str messages, system; // as they are in the body; p is NULL: not given
    struct buf built;            // messages made of /v1/responses' input
    struct str max;              // max_tokens; p is NULL: not given
    bool logprobs, include_logprobs;
    int top; // -1: not given
};

/* Refuses the field that has just been read. */
void body_refuse(struct body_reader *r, const char *field, const char *what);

/* Whether a value asks for what the server does without being asked: null, false, [] ... */
bool body_asks_nothing(struct str raw);

/* /v1/responses: `input`, `text` and `include`, the next value of j. */
void body_read_input(struct body_reader *r);
void body_read_text_config(struct body_reader *r);
void body_read_include(struct body_reader *r);

#endif
