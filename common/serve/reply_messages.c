/* Answers of Anthropic's API: /v1/messages, whole and as events. See reply.h.
 *
 *     event: content_block_delta
 *     data: {"type": "content_block_delta", "index": 0, "delta": {...}}
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>

#include "base/json.h"
#include "serve/reply.h"

static void write_message(const struct reply *r, struct buf *out) {
    buf_fmt(out,
            "{\"id\": \"%s\", \"type\": \"message\", \"role\": \"assistant\", \"model\": ", r->id);
    json_write_str(out, str_of(r->model->name));
}

static const char *stop_reason(const struct generate_result *g) {
    return strcmp(g->finish, "length") == 0 ? "max_tokens"
           : strcmp(g->finish, "stop") == 0 ? "stop_sequence"
                                            : "end_turn";
}

/* The reason why the answer ended, and the text that ended it. */
static void write_stop(const struct generate_result *g, struct buf *out) {
    buf_fmt(out, "\"stop_reason\": \"%s\", \"stop_sequence\": ", stop_reason(g));
    if (g->stop_text)
        json_write_str(out, str_of(g->stop_text));
    else
        buf_str(out, "null");
}

/* input_tokens are those that were not cached. */
static void write_usage(const struct generate_result *g, struct buf *out) {
    uint64_t cached = g->cached_tokens > 0 ? (uint64_t)g->cached_tokens : 0;
    buf_fmt(out, "\"usage\": {\"input_tokens\": %" PRIu64, g->prompt_tokens - cached);
    if (g->cached_tokens >= 0)
        buf_fmt(out, ", \"cache_creation_input_tokens\": 0, \"cache_read_input_tokens\": %" PRIu64,
                cached);
    buf_fmt(out, ", \"output_tokens\": %" PRIu64, g->completion_tokens);
    if (g->cache_why[0]) {
        buf_str(out, ", \"cache_why\": ");
        json_write_str(out, str_of(g->cache_why));
    }
    buf_byte(out, '}');
}

void reply_messages_whole(struct reply *r, const struct reply_choice *choices, size_t n,
                          struct buf *out) {
    (void)n; // one
    write_message(r, out);
    buf_str(out, ", \"content\": [{\"type\": \"text\", \"text\": ");
    json_write_str(out, choices->text.p ? buf_view(&choices->text) : str_of(""));
    buf_str(out, "}], ");
    write_stop(&choices->result, out);
    buf_str(out, ", ");
    write_usage(&choices->result, out);
    buf_byte(out, '}');
}

/* How much of the prompt was cached is said at the end: message_delta counts again. */
void reply_messages_first(struct reply *r, size_t choice, struct buf *out) {
    (void)choice;
    buf_str(out, "event: message_start\ndata: {\"type\": \"message_start\", \"message\": ");
    write_message(r, out);
    buf_fmt(out,
            ", \"content\": [], \"stop_reason\": null, \"stop_sequence\": null, \"usage\": "
            "{\"input_tokens\": %zu, \"output_tokens\": 0}}}\n\n"
            "event: content_block_start\ndata: {\"type\": \"content_block_start\", \"index\": 0, "
            "\"content_block\": {\"type\": \"text\", \"text\": \"\"}}\n\n",
            r->prompt_tokens);
}

void reply_messages_part(struct reply *r, size_t choice, const struct generate_part *p,
                         struct buf *out) {
    (void)r;
    (void)choice;
    buf_str(out,
            "event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 0, "
            "\"delta\": {\"type\": \"text_delta\", \"text\": ");
    json_write_str(out, p->text);
    buf_str(out, "}}\n\n");
}

void reply_messages_end(struct reply *r, size_t choice, const struct generate_result *g,
                        struct buf *out) {
    (void)r;
    (void)choice;
    buf_str(out,
            "event: content_block_stop\ndata: {\"type\": \"content_block_stop\", \"index\": 0}\n\n"
            "event: message_delta\ndata: {\"type\": \"message_delta\", \"delta\": {");
    write_stop(g, out);
    buf_str(out, "}, ");
    write_usage(g, out);
    buf_str(out, "}\n\n");
}

void reply_messages_last(struct reply *r, const struct generate_result *sum, struct buf *out) {
    (void)r;
    (void)sum;
    buf_str(out, "event: message_stop\ndata: {\"type\": \"message_stop\"}\n\n");
}

void reply_messages_error(unsigned status, const char *message, const char *field, const char *code,
                          struct buf *out) {
    (void)field; // the message names it
    (void)code;
    buf_fmt(out, "{\"type\": \"error\", \"error\": {\"type\": \"%s\", \"message\": ",
            status >= 500   ? "api_error"
            : status == 413 ? "request_too_large"
                            : reply_error_type(status));
    json_write_str(out, str_of(message));
    buf_str(out, "}}");
}

void reply_messages_stream_error(struct reply *r, unsigned status, const char *message,
                                 struct buf *out) {
    (void)r;
    buf_str(out, "event: error\ndata: ");
    reply_messages_error(status, message, "", NULL, out);
    buf_str(out, "\n\n");
}
