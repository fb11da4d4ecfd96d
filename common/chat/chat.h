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
#include "jinja/jinja.h"

struct chat;

/* Settings of the operator for all requests. All zero is the default. */
struct chat_options {
    const char *template; // name of one of the model's templates, or a file; NULL: see chat_open
    struct jinja_limits limits;
};

/* What requests get that do not say otherwise. */
struct chat_defaults {
    bool generation;      // end with the text that makes the model answer
    bool continue_final;  // the last message is continued, so it gets no end
    const char *system;   // a first message of the role "system" in valid UTF-8; NULL for none
    struct buf variables; // a JSON object of variables, see chat_set; n = 0 for none
};

/* Reads the templates of a model folder (templates.h) and the texts of its special tokens
 * (tokens/special.h). A request is rendered by the template that it names in "chat_template". Of a
 * request that names none, that is options->template, or tool_use if there are tools, or default.
 * NULL with e set: EXIT_NO_INPUT if the model has none, EXIT_DATA if it cannot be parsed. Threads
 * may share the result. */
struct chat *chat_open(const char *dir, const struct chat_options *options, struct err *e);
void chat_free(struct chat *c);

/* Adds "KEY=VALUE" to variables. A value that is JSON is that value, any other is a string. -1 with
 * e set (EXIT_USAGE) if there is no key, or it is "messages". */
int chat_set(struct buf *variables, const char *setting, struct err *e);

/* The members of a request that choose its template, for a caller that has parsed it. */
struct chat_choice {
    struct str template;    // "chat_template"; p is NULL where it names none
    bool said_tools, tools; // it has the member "tools", which is not null
};

/* Takes a member of a request, the next value of j. Any other is skipped. choice->template is valid
 * until json_free. */
void chat_choice_member(struct chat_choice *choice, struct json *j, struct str key);

/* Renders one conversation. request is JSON in OpenAI's form: an array of messages, or an object
 * with `messages`. The object may have `tools`, `documents`, `add_generation_prompt`,
 * `continue_final_message`, `chat_template` (a name) and `chat_template_kwargs`. Its other members
 * become variables of the template. name is used in messages. choice is what the request chooses,
 * or NULL: then the request is parsed once more for that.
 *
 * continue_final_message is true, or the name of the last message's member that is continued. The
 * rendered text is cut where that ends.
 *
 * Appends the text, and to trust (may be NULL) a byte for each of its bytes. The byte is 1 if the
 * template or a special token wrote it, and 0 if it came from the request or from defaults. A role
 * of letters, '_' and '-' counts as the template's own: templates write control tokens with it
 * ("<|" + role + "|>"). Returns -1 with e set (EXIT_DATA); nothing is appended then. */
int chat_render(const struct chat *c, const char *name, struct str request,
                const struct chat_choice *choice, const struct chat_defaults *defaults,
                struct buf *text, struct buf *trust, struct err *e);

/* Returns the literal texts of the templates. They are valid until chat_free. */
struct str chat_literals(const struct chat *c);

/* Appends the text that the template writes directly after an assistant's message in a conversation
 * that goes on. Appends nothing if there is none, or if the template refuses the conversation that
 * is tried. */
void chat_turn_end(const struct chat *c, struct buf *out);

#endif
