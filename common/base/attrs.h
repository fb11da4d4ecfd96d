/* Attributes: key=value words, separated by spaces, as in the "#@" and "#=" lines of tokens(5).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_ATTRS_H
#define BASE_ATTRS_H

#include <stdbool.h>

#include "base/mem.h"

/* The value of key in an attribute text ("id=7 max=20 stop=a%20b"); false if it is missing. In a
 * text, %XX replaces bytes <= ' ', '%' and 0x7f; out gets the decoded value. */
bool attrs_get(struct str attrs, const char *key, struct buf *out);
void attrs_set(struct buf *attrs, const char *key, struct str value); // appends, escaped

/* Whether a name is a sampling parameter (sample/params.c), or one that only the programs use. */
bool attrs_is_param(struct str name);   // temp, max, stop_id ...
bool attrs_is_private(struct str name); // continues, end_id, from ...

#endif
