/* Helpers for reading the components of tokenizer.json.
 *
 * A component is an object that names its kind, for example {"type": "Metaspace", "replacement":
 * "▁"}. The caller's JSON reader is positioned before that object. The two functions that look
 * ahead read with a copy of it, so it does not move.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_COMPONENT_H
#define TOKENS_COMPONENT_H

#include "base/json.h"

enum { COMPONENT_MAX = 128 }; // most steps in a list of components

/* Returns the string member "type" of the next object, or n = 0 if it has none. j does not move. */
struct str component_type(struct json *j);

/* Returns a bit for each of these n members that the next object has. The search ends at names[0],
 * or before a member named `stop` unless that is NULL. Later members may then be missed. j does not
 * move. */
unsigned component_members(struct json *j, const char *const *names, unsigned n, const char *stop);

/* Refuses the object that was just read unless `found`. */
void component_need(struct json *j, bool found, const char *type, const char *member);

/* Refuses a list that has n steps already: each step may read the whole text. */
void component_limit(struct json *j, size_t n);

/* Reads a string that must be exactly one character. */
uint32_t component_char(struct json *j);

#endif
