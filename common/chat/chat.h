/* A model's chat template: messages in, the text that the model was trained on out, as
 * transformers' apply_chat_template renders it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CHAT_CHAT_H
#define CHAT_CHAT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"

struct chat;

/* Reads the template of a model folder: chat_template.jinja (and
 * additional_chat_templates/NAME.jinja beside it), else `chat_template` of tokenizer_config.json,
 * one text or a list of named ones; and the special tokens' texts. NULL with e set: EXIT_NO_INPUT
 * where the model has none, EXIT_DATA where it cannot be parsed. Read-only after: threads may share
 * it. */
struct chat *chat_open(const char *dir, struct err *e);
void chat_free(struct chat *c);

/* Renders one conversation. request is JSON, in OpenAI's form: an array of messages, or an object
 * with `messages` and, if wanted, `tools`, `documents`, `add_generation_prompt` and
 * `chat_template_kwargs`; its other members are variables of the template too. name is for
 * messages. generation: end with what makes the model answer, unless the request says.
 *
 * Appends the text, and to trust (may be NULL) a byte for each of its bytes: 1 where the template
 * or a special token wrote it, 0 where it came from the request. A role of letters, '_' and '-'
 * counts as the template's own word, since templates write control tokens with it ("<|" + role +
 * "|>"). -1 with e set (EXIT_DATA), nothing appended. */
int chat_render(const struct chat *c, const char *name, struct str request, bool generation,
                struct buf *text, struct buf *trust, struct err *e);

struct str chat_sources(const struct chat *c); // the templates' own texts, until chat_free

/* What the template writes directly behind an assistant's message, in a conversation that goes on:
 * appended to out, nothing where it writes nothing or cannot be asked (a template may refuse the
 * conversation that is tried). */
void chat_turn_end(const struct chat *c, struct buf *out);

#endif
