/* The messages of a request, as templates expect them. They are prepared as in transformers 5
 * (tokenization_utils_base.py, utils/chat_template_utils.py):
 *
 * - Members that are null are left out.
 * - A message's reasoning is passed as `thinking` and as `reasoning_content`.
 * - A role that is a plain word counts as the template's own text.
 *
 * and, beyond transformers, as OpenAI's API means them:
 *
 * - "arguments" of a tool call, a string of JSON, is an object. Where the template prints it, it
 *   prints that string.
 * - "content" that is a list of texts is one text, unless the template takes it apart. Where such a
 *   template prints the list, it prints the texts. Texts are joined by newlines, as vLLM and
 *   llama.cpp do.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef CHAT_MESSAGES_H
#define CHAT_MESSAGES_H

#include <stdbool.h>

#include "base/json.h"
#include "jinja/jinja.h"

/* Reads the list of messages, the next value of j, or refuses it in j. takes_parts: the template
 * takes content apart. */
struct jvalue messages_read(struct jinja *in, struct json *j, bool takes_parts);

/* Puts a system message before the others, unless one is there. text must outlive the rendering. */
void messages_add_system(struct jinja *in, struct jvalue messages, struct str text);

/* The end of a text that the model is to continue. After the rendering, everything from
 * continue_tag on is cut off. */
#define CONTINUE_TAG "CONTINUE_FINAL_MESSAGE_TAG "

/* Puts CONTINUE_TAG after the last message's member `field`, such as "content". *text is that
 * member's text. source is the template's. -1 with e set (EXIT_DATA) if there is no such text, or
 * the template does not use the field. */
int messages_mark_end(struct jinja *in, struct jvalue messages, struct str field, struct str source,
                      struct str *text, struct err *e);

/* Reads a list of objects, which tools and documents must be, or refuses it in j. */
bool messages_list(struct jinja *in, struct json *j, const char *what, struct jvalue *out);

#endif
