/* A small Jinja interpreter for chat templates, as jinja2 renders them in transformers' settings:
 * the immutable sandbox, trim_blocks and lstrip_blocks, {% break %}, {% continue %}, {% generation
 * %}, and transformers' own tojson, raise_exception and strftime_now. tokpipe-chat(7) lists the
 * language.
 *
 * The template is a stranger's program: it sees its variables and nothing else, and its steps,
 * memory, depth and output are bounded. For every byte of its output the interpreter knows whether
 * the template wrote it or a variable that is not trusted (messages, tools, documents) brought it
 * in.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_JINJA_H
#define JINJA_JINJA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "jinja/value.h"

struct jinja_template;

/* Parses source (copied; must be valid UTF-8). name is for messages, and copied. NULL with e set
 * (EXIT_DATA; the message names the line). Read-only after: threads may share it. */
struct jinja_template *jinja_parse(const char *name, struct str source, struct err *e);
void jinja_template_free(struct jinja_template *t);

/* One rendering: made, given its variables, rendered once, ended. */
struct jinja *jinja_begin(const struct jinja_template *t);
void jinja_end(struct jinja *in); // ends every value that it gave

/* Variables come as values (jinja_value.h). A name that the template never uses is left out. */
void jinja_set(struct jinja *in, const char *name, struct value v);
void jinja_set_str(struct jinja *in, struct str name, struct value v);

/* The next JSON value of j, as Python's json.loads makes it. Its strings may be views into j's
 * input and arena, so both must outlive the rendering. Nothing in it is trusted. After an error
 * json_failed(j) says so. */
struct value jinja_from_json(struct jinja *in, struct json *j);

/* Appends the rendered text to text and a byte for each of its bytes to trust: 1 where the template
 * wrote it, else 0. trust may be NULL. -1 with e set (EXIT_DATA) where the template fails; nothing
 * is appended then. */
int jinja_render(struct jinja *in, struct buf *text, struct buf *trust, struct err *e);

#endif
