/* A record of tok-encode's and tok-decode's JSON lines: {"text": "...", other keys}.
 *
 * A key is one of three things. Sampling parameters stand in "params", under the long names of
 * llm-sample's options, or have one of the names that OpenAI's API gives them; they become
 * attributes of the sequence (tokens(5)) that steer it. What OpenAI's API has and nobody here
 * follows is refused or noted. Every other key is the user's data: an attribute that steers nothing
 * and comes out again on the other side.
 *
 * A string is its own attribute value where nothing else reads like it; every other value, and a
 * string that reads like one, is written as JSON: {"id": 7, "tag": "a b", "n": "7"} is id=7
 * tag=a%20b n="7". A data key that a program would read, or that begins with a period, has a period
 * before it: {"temp": 3} is .temp=3.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CHAT_RECORD_H
#define CHAT_RECORD_H

#include "base/json.h"

/* Reads one member that is no text into attrs, and adds to notes (a bit each) what is not followed.
 * Refused in j: data keys that cannot be an attribute's (empty, or with bytes <= ' ', '=' or 0x7f),
 * "stop", "n" other than 1, what is no name in "params", values that no parameter can have. */
void record_member(struct json *j, struct str key, struct buf *attrs, uint32_t *notes);

/* What to say of note i; NULL past the last. */
const char *record_note(unsigned i);

/* Appends `, "key": value` for each attribute of a text: data, then the parameters as an object
 * "params". No name comes twice. */
void record_write_attrs(struct buf *out, struct str attrs);

/* Appends what the "#=" line of a sequence says: `, "finish": "eos", "usage": {"prompt_tokens": 5,
 * "completion_tokens": 3}`, and `, "error": "..."` where error.p is not NULL. A name that attrs has
 * as data gets an underscore behind it. */
void record_write_result(struct buf *out, struct str attrs, struct str result, struct str error);

#endif
