/* The body of a request, of OpenAI's API or Anthropic's, turned into a record of tok-encode.
 *
 *     {"model": "m", "messages": [...], "temperature": 0, "stream": true, "top_k": 20}
 *  -> {"messages": [...], "temperature": 0, "params": {"top_k": 20}}
 *
 * Every field is in a table of body.c: it is passed on, read by the server, known and without
 * effect, or refused where its value asks for something that the server does not have. A field that
 * is in no table is refused. Nothing is ignored without a word in the page.
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
    BODY_KINDS
};

struct body {
    struct buf record; // a JSON object for tok-encode -j; empty where ids are given
    struct buf params; // JSON members of "params": `"top_k": 20, "seed": 1`
    uint32_t *ids;     // [n_ids] a prompt of token ids; NULL: a text
    size_t n_ids;
    char *model; // NULL: not given
    bool stream;
    bool include_usage;      // stream_options.include_usage
    bool has_temp, has_seed; // the request says them itself
};

/* Reads text [n]. -1 with e set (EXIT_DATA): the message says the field's path, and field [size]
 * gets the path alone, or "" where the whole body is wrong. Free with body_free in both cases. */
int body_read(struct body *b, enum body_kind kind, struct str text, char *field, size_t size,
              struct err *e);
void body_free(struct body *b);

/* Appends the next value of j, a list of token ids, to ids [n], which the caller frees; or refuses
 * it in j. name is the field's, for messages. */
void body_read_ids(struct json *j, const char *name, uint32_t **ids, size_t *n);

#endif
