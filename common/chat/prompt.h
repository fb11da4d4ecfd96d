/* A record of tok-encode as the text that is to be encoded: plain text, {"text": ...}, or messages
 * that the model's chat template renders. A JSON record may be a line of OpenAI's batches:
 * {"custom_id", "url", "body": {...}}.
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
    PROMPT_WHOLE,
    PROMPT_RECORD,
    PROMPT_JSON,
    PROMPT_CHAT
}; // whole: less one newline at its end

struct prompt_options {
    enum prompt_form form;
    bool strict;             // invalid UTF-8 is an error
    bool chat_only;          // of PROMPT_JSON: {"messages": ...} alone
    bool generation;         // a chat ends with what makes the model answer
    const struct chat *chat; // NULL: no_chat says why there is none
    struct err no_chat;
};

struct chat_prompt {
    struct str text; // valid UTF-8, until the next prompt_read; a view into the record or into what
                     // follows
    bool is_chat;    // rendered: it writes its own special tokens, and trust has a byte for each of
                     // its bytes
    struct buf attrs; // attributes of tokens(5), from the other keys of a JSON record
    uint32_t notes;   // what of them is not followed: record_note
    struct buf repaired, rendered, trust;
    struct json json;
};

/* All zero is a fresh p. -1 with e set; attrs are then those read so far. */
int prompt_read(struct chat_prompt *p, const struct prompt_options *o, struct str record,
                struct err *e);
void prompt_free(struct chat_prompt *p);

#endif
