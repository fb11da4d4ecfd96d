/* A record of tok-encode's and tok-decode's JSON lines: {"text": "...", other keys}.
 *
 * Other keys become attributes of the sequence (tokens(5)) and come out again on the other side. A string is its own
 * attribute value where nothing else reads like it; every other value, and a string that reads like one, is written as
 * JSON: {"id": 7, "tag": "a b", "n": "7"} is id=7 tag=a%20b n="7".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_RECORD_H
#define TOKENS_RECORD_H

#include "base/json.h"

/* Reads one member that is no text into attrs. Refused in j: keys that cannot be an attribute's (empty, or with bytes
 * <= ' ', '=' or 0x7f). */
void record_attr(struct json *j, struct str key, struct buf *attrs);

/* Appends `, "key": value` for each attribute of a text ("id=7 max=20"). */
void record_write_attrs(struct buf *out, struct str attrs);

#endif
