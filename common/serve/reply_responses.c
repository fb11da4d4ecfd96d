/* Answers of OpenAI's /v1/responses, whole and as events. See reply.h.
 *
 *     event: response.output_text.delta
 *     data: {"type": "response.output_text.delta", "sequence_number": 4, "delta": "Hi", ...}
 *
 * The server stores no response: `store` is always false, and an id cannot be asked for later.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>

#include "base/json.h"
#include "serve/reply.h"

static bool is_cut(const struct generate_result *g) {
    return strcmp(g->finish, "length") == 0;
}

static void write_usage(const struct generate_result *g, struct buf *out) {
    buf_fmt(out,
            "{\"input_tokens\": %" PRIu64 ", \"input_tokens_details\": {\"cached_tokens\": %" PRId64
            "}, \"output_tokens\": %" PRIu64 ", \"output_tokens_details\": {\"reasoning_tokens\": "
            "0}, \"total_tokens\": %" PRIu64,
            g->prompt_tokens, g->cached_tokens > 0 ? g->cached_tokens : 0, g->completion_tokens,
            g->prompt_tokens + g->completion_tokens);
    if (g->cache_why[0]) {
        buf_str(out, ", \"cache_why\": ");
        json_write_str(out, str_of(g->cache_why));
    }
    buf_byte(out, '}');
}

/* {"type": "output_text", ...} */
static void write_content(struct str text, struct str logprobs, struct buf *out) {
    buf_str(out, "{\"type\": \"output_text\", \"annotations\": [], \"logprobs\": [");
    buf_add(out, logprobs.p, logprobs.n);
    buf_str(out, "], \"text\": ");
    json_write_str(out, text.p ? text : str_of(""));
    buf_byte(out, '}');
}

/* The message of the output. g is NULL while it is being made, without its content. */
static void write_item(const struct reply *r, const struct generate_result *g, struct str text,
                       struct str logprobs, struct buf *out) {
    buf_fmt(out,
            "{\"id\": \"msg_%s\", \"type\": \"message\", \"role\": \"assistant\", \"status\": "
            "\"%s\", \"content\": [",
            r->hex,
            !g          ? "in_progress"
            : is_cut(g) ? "incomplete"
                        : "completed");
    if (g)
        write_content(text, logprobs, out);
    buf_str(out, "]}");
}

/* `"name": value, `. A value of the request may have line ends, which would end an event's line. */
static void write_or(struct buf *out, const char *name, struct str said, const char *else_value) {
    struct str value = said.p ? said : str_of(else_value);
    buf_fmt(out, "\"%s\": ", name);
    for (size_t i = 0; i < value.n; i++)
        buf_byte(out, value.p[i] == '\n' || value.p[i] == '\r' ? ' ' : value.p[i]);
    buf_str(out, ", ");
}

/* What the request said, or the value that was used instead. */
static void write_said(const struct reply *r, struct buf *out) {
    const struct body_said *said = &r->body->said;
    char temperature[32];
    snprintf(temperature, sizeof temperature, "%.9g", r->model->temp);
    write_or(out, "instructions", said->instructions, "null");
    write_or(out, "max_output_tokens", said->max, "null");
    write_or(out, "metadata", said->metadata, "{}");
    write_or(out, "temperature", said->temperature, temperature);
    write_or(out, "top_p", said->top_p, "null");
}

/* g is NULL while the answer is being made. */
static void write_response(const struct reply *r, const struct generate_result *g, struct str text,
                           struct str logprobs, struct buf *out) {
    buf_fmt(out,
            "{\"id\": \"%s\", \"object\": \"response\", \"created_at\": %" PRId64
            ", \"status\": \"%s\", \"background\": false, \"error\": null, "
            "\"incomplete_details\": %s, ",
            r->id, r->created,
            !g          ? "in_progress"
            : is_cut(g) ? "incomplete"
                        : "completed",
            g && is_cut(g) ? "{\"reason\": \"max_output_tokens\"}" : "null");
    write_said(r, out);
    buf_str(out, "\"model\": ");
    json_write_str(out, str_of(r->model->name));
    buf_str(out, ", \"output\": [");
    if (g)
        write_item(r, g, text, logprobs, out);
    buf_fmt(
        out,
        "], \"parallel_tool_calls\": true, \"previous_response_id\": null, \"store\": false, "
        "\"text\": {\"format\": {\"type\": \"text\"}}, \"tool_choice\": \"auto\", \"tools\": [], "
        "\"top_logprobs\": %d, \"truncation\": \"disabled\", \"usage\": ",
        r->body->top > 0 ? r->body->top : 0);
    if (g)
        write_usage(g, out);
    else
        buf_str(out, "null");
    buf_byte(out, '}');
}

void reply_responses_whole(struct reply *r, const struct reply_choice *choices, size_t n,
                           struct buf *out) {
    (void)n; // one
    write_response(r, &choices->result, buf_view(&choices->text),
                   buf_view(&choices->logprobs.items), out);
}

/* ---- Events ---- */

static void begin_event(struct reply *r, const char *type, struct buf *out) {
    buf_fmt(out, "event: %s\ndata: {\"type\": \"%s\", \"sequence_number\": %u", type, type,
            r->sequence++);
}

static void end_event(struct buf *out) {
    buf_str(out, "}\n\n");
}

/* The members that say to which text an event belongs. */
static void write_place(const struct reply *r, struct buf *out) {
    buf_fmt(out, ", \"item_id\": \"msg_%s\", \"output_index\": 0, \"content_index\": 0", r->hex);
}

void reply_responses_first(struct reply *r, size_t choice, struct buf *out) {
    static const char *const events[] = {"response.created", "response.in_progress"};
    struct str none = {NULL, 0};
    (void)choice;
    for (size_t i = 0; i < 2; i++) {
        begin_event(r, events[i], out);
        buf_str(out, ", \"response\": ");
        write_response(r, NULL, none, none, out);
        end_event(out);
    }
    begin_event(r, "response.output_item.added", out);
    buf_str(out, ", \"output_index\": 0, \"item\": ");
    write_item(r, NULL, none, none, out);
    end_event(out);
    begin_event(r, "response.content_part.added", out);
    write_place(r, out);
    buf_str(out, ", \"part\": ");
    write_content(none, none, out);
    end_event(out);
}

void reply_responses_part(struct reply *r, size_t choice, const struct generate_part *p,
                          struct buf *out) {
    struct reply_logprobs l = {0};
    (void)choice;
    reply_logprobs_add(&l, BODY_RESPONSES, r->model->tokenizer, r->piece, p);
    begin_event(r, "response.output_text.delta", out);
    write_place(r, out);
    buf_str(out, ", \"delta\": ");
    json_write_str(out, p->text.p ? p->text : str_of(""));
    buf_str(out, ", \"logprobs\": ");
    reply_logprobs_write(&l, BODY_RESPONSES, out);
    end_event(out);
    buf_add(&r->text, p->text.p, p->text.n);
    if (l.items.n && r->logprobs.n)
        buf_str(&r->logprobs, ", ");
    buf_add(&r->logprobs, l.items.p, l.items.n);
    reply_logprobs_free(&l);
}

void reply_responses_end(struct reply *r, size_t choice, const struct generate_result *g,
                         struct buf *out) {
    struct str text = buf_view(&r->text), logprobs = buf_view(&r->logprobs);
    (void)choice;
    begin_event(r, "response.output_text.done", out);
    write_place(r, out);
    buf_str(out, ", \"text\": ");
    json_write_str(out, text.p ? text : str_of(""));
    buf_str(out, ", \"logprobs\": [");
    buf_add(out, logprobs.p, logprobs.n);
    buf_byte(out, ']');
    end_event(out);
    begin_event(r, "response.content_part.done", out);
    write_place(r, out);
    buf_str(out, ", \"part\": ");
    write_content(text, logprobs, out);
    end_event(out);
    begin_event(r, "response.output_item.done", out);
    buf_str(out, ", \"output_index\": 0, \"item\": ");
    write_item(r, g, text, logprobs, out);
    end_event(out);
}

void reply_responses_last(struct reply *r, const struct generate_result *sum, struct buf *out) {
    begin_event(r, is_cut(sum) ? "response.incomplete" : "response.completed", out);
    buf_str(out, ", \"response\": ");
    write_response(r, sum, buf_view(&r->text), buf_view(&r->logprobs), out);
    end_event(out);
}

void reply_responses_stream_error(struct reply *r, unsigned status, const char *message,
                                  struct buf *out) {
    begin_event(r, "error", out);
    buf_fmt(out, ", \"code\": \"%s\", \"message\": ", reply_error_type(status));
    json_write_str(out, str_of(message));
    buf_str(out, ", \"param\": null");
    end_event(out);
}
