/* A small Jinja interpreter for chat templates. It renders them as jinja2 does with the settings of
 * transformers: the immutable sandbox, trim_blocks, lstrip_blocks, {% break %}, {% continue %} and
 * {% generation %}, and transformers' own tojson, raise_exception and strftime_now. tokpipe-chat(7)
 * lists the language.
 *
 * A template goes through three stages:
 *
 *     "Hi {{ name }}!"
 *       lexer     Hi , {{, name, }}, !                             lex.c
 *       parser    N_BODY(N_DATA, N_OUTPUT(N_NAME), N_DATA)         parse.c, expr.c, check.c
 *       renderer  walks the tree and writes text                   exec.c, eval.c
 *
 * The template is a stranger's program. It sees its variables and nothing else, and its steps,
 * memory, depth and output are bounded. Each byte of the output is marked: written by the template,
 * or brought in by an untrusted variable (messages, tools, documents).
 *
 * Names in this folder tell what a function works on:
 *
 *     jinja_   the interpreter: parsing, rendering, operators, iteration   run.h, node.h
 *     jt_      a text whose bytes know who wrote them, struct jtext        text.h
 *     jb_      the builder that writes such a text, struct jbuild          text.h
 *     jv_      a value of any type, struct jvalue                          value.h
 *     jf_      a filter, called as value|name                              filter.h
 *     j        alone: a type, such as struct jlist or enum jkind
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

/* Parses source, which is copied and must be valid UTF-8. name, also copied, is used in messages.
 * NULL with e set: EXIT_DATA, and the message names the line. A template never changes, so threads
 * may share it. */
struct jinja_template *jinja_parse(const char *name, struct str source, struct err *e);
void jinja_template_free(struct jinja_template *t);

/* The limits of one rendering. A member that is 0 has the default. */
enum { JINJA_DEFAULT_MEMORY = 64 << 20, JINJA_DEFAULT_STEPS = 200000000 };
struct jinja_limits {
    size_t memory; // bytes of values
    uint64_t steps;
};

/* One rendering: begin it, set its variables, render once, end it. limits may be NULL. */
struct jinja *jinja_begin(const struct jinja_template *t, const struct jinja_limits *limits);
void jinja_end(struct jinja *in); // frees every value that it made

/* Sets a variable to a value (value.h). A name that the template does not use is ignored. */
void jinja_set(struct jinja *in, const char *name, struct jvalue v);
void jinja_set_str(struct jinja *in, struct str name, struct jvalue v);

/* Returns the next JSON value of j, as Python's json.loads reads it. Its strings may be views into
 * j's input and arena, so both must outlive the rendering. Nothing in it is trusted. Check
 * json_failed(j) afterwards. */
struct jvalue jinja_from_json(struct jinja *in, struct json *j);

/* Appends the rendered text to `text`, and to `trust` (may be NULL) a byte for each of its bytes: 1
 * if the template wrote it, else 0. Returns -1 with e set (EXIT_DATA) if the template fails;
 * nothing is appended then. */
int jinja_render(struct jinja *in, struct buf *text, struct buf *trust, struct err *e);

#endif
