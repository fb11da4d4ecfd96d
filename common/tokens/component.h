/* What the loaders of tokenizer.json's components share: each is an object with a "type".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_COMPONENT_H
#define TOKENS_COMPONENT_H

#include "base/json.h"

/* The value of the member "type" of the object that j stands before; n = 0 where there is none. j stays there. */
struct str component_type(struct json *j);

/* Whether the object that j stands before has this member. j stays there. */
bool component_has(struct json *j, const char *member);

/* Refuses the object that j has just read unless `found`. */
void component_need(struct json *j, bool found, const char *type, const char *member);

/* One character, as a string of exactly one. */
uint32_t component_char(struct json *j);

#endif
