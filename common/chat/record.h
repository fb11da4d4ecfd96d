/* The keys of a JSON record of tok-encode and tok-decode: {"text": "...", other keys}.
 *
 * A key is one of three things:
 *
 * - A sampling parameter: in "params" under the long name of llm-sample's option, or under the name
 * that OpenAI's API gives it. It becomes an attribute of the sequence (tokens(5)).
 * - A key of OpenAI's API that has no effect here. It is refused or noted.
 * - The user's data: an attribute that has no effect and comes out again in tok-decode.
 *
 * A string is its own attribute value unless it would read as JSON; other values are written as
 * JSON. A data key that a program would read, or that begins with a period, gets a period before
 * it:
 *
 *     {"id": 7, "tag": "a b", "n": "7", "temp": 3}     id=7 tag=a%20b n="7" .temp=3
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CHAT_RECORD_H
#define CHAT_RECORD_H

#include "base/json.h"

/* Reads one member that is not the text into attrs, and adds to notes a bit for each key that has
 * no effect. These are refused in j:
 *
 * - a data key that cannot name an attribute: empty, or with bytes <= ' ', '=' or 0x7f
 * - "stop", and "n" other than 1
 * - an unknown name in "params", and a value that a parameter cannot have */
void record_member(struct json *j, struct str key, struct buf *attrs, uint32_t *notes);

/* Returns the message of note i; NULL past the last one. */
const char *record_note(unsigned i);

/* Appends `, "key": value` for each data attribute of a text, then the parameters as an object
 * "params". No name comes twice. */
void record_write_attrs(struct buf *out, struct str attrs);

/* Appends `, "name": `, with underscores after the name until attrs has no data of that name. */
void record_write_own(struct buf *out, struct str attrs, const char *name);

/* Appends the contents of a sequence's "#=" line: `, "finish": "eos", "usage": {"prompt_tokens": 5,
 * "completion_tokens": 3}`. Appends `, "error": "..."` if error.p is not NULL. A name that attrs
 * has as data gets an underscore after it. */
void record_write_result(struct buf *out, struct str attrs, struct str result, struct str error);

#endif
