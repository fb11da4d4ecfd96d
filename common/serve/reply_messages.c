/* Answers of Anthropic's API: /v1/messages, whole and as events. See reply.h.
 *
 *     event: content_block_delta
 *     data: {"type": "content_block_delta", "index": 0, "delta": {...}}
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>

#include "base/json.h"
#include "serve/reply_messages.h"

static void write_message(const struct reply *r, struct buf *out) {
    buf_fmt(out,
            "{\"id\": \"%s\", \"type\": \"message\", \"role\": \"assistant\", \"model\": ", r->id);
    json_write_str(out, str_of(r->model->name));
}

/* Which text stopped an answer is not known, so stop_sequence is null. */
static const char *stop_reason(const struct generate_result *g) {
    return strcmp(g->finish, "length") == 0 ? "max_tokens"
           : strcmp(g->finish, "stop") == 0 ? "stop_sequence"
                                            : "end_turn";
}

void reply_messages_whole(const struct reply *r, struct str text, const struct generate_result *g,
                          struct buf *out) {
    write_message(r, out);
    buf_str(out, ", \"content\": [{\"type\": \"text\", \"text\": ");
    json_write_str(out, text.p ? text : str_of(""));
    buf_fmt(out,
            "}], \"stop_reason\": \"%s\", \"stop_sequence\": null, \"usage\": {\"input_tokens\": "
            "%" PRIu64 ", \"output_tokens\": %" PRIu64 "}}",
            stop_reason(g), g->prompt_tokens, g->completion_tokens);
}

void reply_messages_first(const struct reply *r, struct buf *out) {
    buf_str(out, "event: message_start\ndata: {\"type\": \"message_start\", \"message\": ");
    write_message(r, out);
    buf_str(out,
            ", \"content\": [], \"stop_reason\": null, \"stop_sequence\": null, \"usage\": "
            "{\"input_tokens\": 0, \"output_tokens\": 0}}}\n\n"
            "event: content_block_start\ndata: {\"type\": \"content_block_start\", \"index\": 0, "
            "\"content_block\": {\"type\": \"text\", \"text\": \"\"}}\n\n");
}

void reply_messages_text(const struct reply *r, struct str text, struct buf *out) {
    (void)r;
    buf_str(out,
            "event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 0, "
            "\"delta\": {\"type\": \"text_delta\", \"text\": ");
    json_write_str(out, text);
    buf_str(out, "}}\n\n");
}

void reply_messages_last(const struct reply *r, const struct generate_result *g, struct buf *out) {
    (void)r;
    buf_fmt(
        out,
        "event: content_block_stop\ndata: {\"type\": \"content_block_stop\", \"index\": 0}\n\n"
        "event: message_delta\ndata: {\"type\": \"message_delta\", \"delta\": {\"stop_reason\": "
        "\"%s\", \"stop_sequence\": null}, \"usage\": {\"input_tokens\": %" PRIu64
        ", \"output_tokens\": %" PRIu64 "}}\n\n"
        "event: message_stop\ndata: {\"type\": \"message_stop\"}\n\n",
        stop_reason(g), g->prompt_tokens, g->completion_tokens);
}

void reply_messages_error(unsigned status, const char *message, const char *field,
                          struct buf *out) {
    (void)field; // the message names it
    buf_fmt(out, "{\"type\": \"error\", \"error\": {\"type\": \"%s\", \"message\": ",
            status >= 500 ? "api_error" : reply_error_type(status));
    json_write_str(out, str_of(message));
    buf_str(out, "}}");
}
