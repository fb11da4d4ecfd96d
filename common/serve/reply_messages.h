/* Anthropic's API, for reply.c. Private to common/serve.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_REPLY_MESSAGES_H
#define SERVE_REPLY_MESSAGES_H

#include "serve/reply.h"

void reply_messages_whole(const struct reply *r, struct str text, const struct generate_result *g,
                          struct buf *out);
void reply_messages_first(const struct reply *r, struct buf *out);
void reply_messages_text(const struct reply *r, struct str text, struct buf *out);
void reply_messages_last(const struct reply *r, const struct generate_result *g, struct buf *out);
void reply_messages_error(unsigned status, const char *message, const char *field, struct buf *out);

#endif
