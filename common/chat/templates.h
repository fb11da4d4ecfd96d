/* The chat templates of a model folder, by name.
 *
 *     chat_template.jinja                        "default"
 *     additional_chat_templates/NAME.jinja       NAME
 *     tokenizer_config.json: "chat_template"     "default", or a list of {name, template}
 *     chat_template.json: the same, if there is no other
 *
 * If there is a file of the first two kinds, tokenizer_config.json's are not read, as in
 * transformers. A template that cannot be parsed is an error only for who wants it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CHAT_TEMPLATES_H
#define CHAT_TEMPLATES_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"
#include "jinja/jinja.h"

struct chat_template {
    char *name;
    struct jinja_template *parsed; // NULL: `broken` says why
    struct err broken;
    // The template takes content apart, so messages with a list of parts keep it.
    bool takes_parts;
};

struct chat_templates {
    struct chat_template *items; // [n]
    size_t n, cap;
    // The one that the operator chose for requests that name none; NULL: see templates_choose.
    const struct chat_template *chosen;
};

/* Reads the templates of dir into t, all zero before. choice: the name of one, or a file with a
 * template; NULL to leave the choice to the requests. -1 with e set: EXIT_NO_INPUT if there is no
 * template, EXIT_DATA if none that can be chosen could be parsed. templates_free in both cases. */
int templates_read(struct chat_templates *t, const char *dir, const char *choice, struct err *e);
void templates_free(struct chat_templates *t);

/* The template for a request: the one named `name`, or if that is NULL the operator's choice,
 * tool_use for a request with tools, or default. NULL with e set (EXIT_DATA). */
const struct chat_template *templates_choose(const struct chat_templates *t, const char *name,
                                             bool tools, struct err *e);

/* Appends the literal texts of the templates that requests can choose. */
void templates_literals(const struct chat_templates *t, struct buf *out);

#endif
