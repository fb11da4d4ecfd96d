/* What a template's syntax tree says about it, without a rendering: its literal texts, and how it
 * uses a member of its variables.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_USES_H
#define JINJA_USES_H

#include <stdbool.h>

#include "base/mem.h"

struct jinja_template;

/* Appends each text between the tags and each string constant, with a NUL after it. */
void jinja_literals(const struct jinja_template *t, struct buf *out);

/* Whether the template takes a member with this name apart as a list: in a loop over x.name or
 * x["name"], by a filter such as map or selectattr, or as x.name[0].text. A variable or a macro's
 * parameter that is set to the member counts as the member, anywhere in the template. */
bool jinja_uses_list(const struct jinja_template *t, const char *name);

#endif
