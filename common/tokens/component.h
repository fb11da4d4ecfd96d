/* What the loaders of tokenizer.json's components share: each is an object with a "type".
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_COMPONENT_H
#define TOKENS_COMPONENT_H

#include "base/json.h"

/* The value of the member "type" of the object that j stands before; n = 0 where there is none. j
 * stays there. */
struct str component_type(struct json *j);

/* Which of these n members (a bit each) the object that j stands before has; the search ends at the
 * first one of the list, and before `stop` (or NULL), so that the others may be left out then. j
 * stays there. */
unsigned component_members(struct json *j, const char *const *names, unsigned n, const char *stop);

/* Refuses the object that j has just read unless `found`. */
void component_need(struct json *j, bool found, const char *type, const char *member);

/* One character, as a string of exactly one. */
uint32_t component_char(struct json *j);

#endif
