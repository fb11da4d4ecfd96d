/* A record of tok-encode, turned into the text to encode.
 *
 *     one line of text                     the line itself
 *     {"text": "Hi", "id": 7}              "Hi", with the attribute id=7
 *     {"messages": [...], "id": 7}         the chat that the model's template renders
 *     {"context": "2 + 2 =", "continuation": " 4"}    two texts, of which the second is scored
 *
 * A JSON record may also be a line of OpenAI's batches: {"custom_id": ..., "url": ..., "body":
 * {...}}. Its body is then the record.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CHAT_PROMPT_H
#define CHAT_PROMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "chat/chat.h"

enum prompt_form {
    PROMPT_WHOLE,  // text, without one newline at its end
    PROMPT_RECORD, // text
    PROMPT_JSON,   // {"text": ...} or {"messages": ...}
    PROMPT_CHAT    // a request of chat_render
};

struct prompt_options {
    enum prompt_form form;
    const char *input; // the input's name, for messages
    bool strict;       // refuse invalid UTF-8 instead of repairing it
    bool chat_only;    // PROMPT_JSON: accept only {"messages": ...}
    struct chat_defaults defaults;
    const struct chat *chat; // NULL: no_chat is the reason
    struct err no_chat;
};

struct chat_prompt {
    // Valid UTF-8, until the next prompt_read. It is a view into the record or into the buffers
    // below.
    struct str text;
    // The text is a rendered chat. It has its special tokens, and trust has a byte for each of its
    // bytes.
    bool is_chat;
    bool is_pair; // text is a context, and continuation follows it
    struct str continuation;
    struct buf attrs; // attributes of tokens(5), from the other keys of a JSON record
    uint32_t notes;   // keys that have no effect, a bit each: record_note
    struct buf repaired, rendered, trust;
    struct json json;
};

/* Reads a record into p; all zero is a valid empty p. -1 with e set: p->attrs has the attributes
 * read before the error, and "id" and "custom_id" where the record has them. */
int prompt_read(struct chat_prompt *p, const struct prompt_options *o, struct str record,
                struct err *e);
void prompt_free(struct chat_prompt *p);

#endif
