/* A model's chat template: messages in, the text that the model was trained on out, as
 * transformers' apply_chat_template renders it.
 *
 *     [{"role": "user", "content": "Hi"}]  ->  "<|im_start|>user\nHi<|im_end|>\n"
 *
 * The template is a Jinja program from the model's folder (jinja/jinja.h). Each byte of the text is
 * marked as the template's or the request's. A tokenizer can then refuse control tokens in what a
 * user wrote.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CHAT_CHAT_H
#define CHAT_CHAT_H

#include <stdbool.h>

#include "base/err.h"
#include "base/mem.h"

struct chat;

/* Reads the template of a model folder and the texts of its special tokens. The template is
 * chat_template.jinja, with additional_chat_templates/NAME.jinja beside it. Otherwise it is
 * `chat_template` of tokenizer_config.json, one text or a list of named ones. NULL with e set:
 * EXIT_NO_INPUT if the model has none, EXIT_DATA if it cannot be parsed. Threads may share the
 * result. */
struct chat *chat_open(const char *dir, struct err *e);
void chat_free(struct chat *c);

/* Renders one conversation. request is JSON in OpenAI's form: an array of messages, or an object
 * with `messages`. The object may have `tools`, `documents`, `add_generation_prompt` and
 * `chat_template_kwargs`. Its other members become variables of the template. name is used in
 * messages. generation: end with the text that makes the model answer, unless the request decides.
 *
 * Appends the text, and to trust (may be NULL) a byte for each of its bytes. The byte is 1 if the
 * template or a special token wrote it, and 0 if it came from the request. A role of letters, '_'
 * and '-' counts as the template's own: templates write control tokens with it ("<|" + role +
 * "|>"). Returns -1 with e set (EXIT_DATA); nothing is appended then. */
int chat_render(const struct chat *c, const char *name, struct str request, bool generation,
                struct buf *text, struct buf *trust, struct err *e);

// Returns the sources of the templates. They are valid until chat_free.
struct str chat_sources(const struct chat *c);

/* Appends the text that the template writes directly after an assistant's message in a conversation
 * that goes on. Appends nothing if there is none, or if the template refuses the conversation that
 * is tried. */
void chat_turn_end(const struct chat *c, struct buf *out);

#endif
