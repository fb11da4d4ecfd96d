/* Answers in the form of OpenAI's API: see reply.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/reply.h"

#include <inttypes.h>
#include <sodium.h>
#include <time.h>

#include "base/json.h"
#include "serve/reply_messages.h"

void reply_begin(struct reply *r, enum body_kind kind, const struct served *m) {
    unsigned char bytes[12];
    char hex[2 * sizeof bytes + 1];
    *r = (struct reply){
        .form = &reply_forms[kind], .kind = kind, .model = m, .created = (int64_t)time(NULL)};
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(hex, sizeof hex, bytes, sizeof bytes);
    snprintf(r->id, sizeof r->id, "%s%s", r->form->id, hex);
}

static const char *finish_reason(const struct generate_result *g) {
    return strcmp(g->finish, "length") == 0 ? "length" : "stop";
}

/* The members that every object of an answer has. */
static void write_head(const struct reply *r, const char *object, struct buf *out) {
    buf_fmt(out,
            "{\"id\": \"%s\", \"object\": \"%s\", \"created\": %" PRId64 ", \"model\": ", r->id,
            object, r->created);
    json_write_str(out, str_of(r->model->name));
}

static void write_usage(const struct generate_result *g, struct buf *out) {
    buf_fmt(out,
            ", \"usage\": {\"prompt_tokens\": %" PRIu64 ", \"completion_tokens\": %" PRIu64
            ", \"total_tokens\": %" PRIu64 "}",
            g->prompt_tokens, g->completion_tokens, g->prompt_tokens + g->completion_tokens);
}

static void write_whole(const struct reply *r, struct str text, const struct generate_result *g,
                        struct buf *out) {
    bool chat = r->kind == BODY_CHAT;
    write_head(r, chat ? "chat.completion" : "text_completion", out);
    buf_str(out, ", \"choices\": [{\"index\": 0, ");
    buf_str(out, chat ? "\"message\": {\"role\": \"assistant\", \"content\": " : "\"text\": ");
    json_write_str(out, text.p ? text : str_of(""));
    buf_fmt(out, "%s, \"logprobs\": null, \"finish_reason\": \"%s\"}]",
            chat ? ", \"refusal\": null}" : "", finish_reason(g));
    write_usage(g, out);
    buf_byte(out, '}');
}

/* ---- Events ---- */

static void begin_event(const struct reply *r, struct buf *out) {
    buf_str(out, "data: ");
    write_head(r, r->kind == BODY_CHAT ? "chat.completion.chunk" : "text_completion", out);
}

static void end_event(const struct reply *r, struct buf *out) {
    buf_str(out, r->usage ? ", \"usage\": null}\n\n" : "}\n\n");
}

static void write_first(const struct reply *r, struct buf *out) {
    if (r->kind != BODY_CHAT)
        return;
    begin_event(r, out);
    buf_str(out, ", \"choices\": [{\"index\": 0, \"delta\": {\"role\": \"assistant\", \"content\": "
                 "\"\"}, \"logprobs\": null, \"finish_reason\": null}]");
    end_event(r, out);
}

static void write_text(const struct reply *r, struct str text, struct buf *out) {
    begin_event(r, out);
    buf_str(out, ", \"choices\": [{\"index\": 0, ");
    buf_str(out, r->kind == BODY_CHAT ? "\"delta\": {\"content\": " : "\"text\": ");
    json_write_str(out, text);
    buf_fmt(out, "%s, \"logprobs\": null, \"finish_reason\": null}]",
            r->kind == BODY_CHAT ? "}" : "");
    end_event(r, out);
}

static void write_last(const struct reply *r, const struct generate_result *g, struct buf *out) {
    begin_event(r, out);
    buf_fmt(out,
            ", \"choices\": [{\"index\": 0, %s, \"logprobs\": null, \"finish_reason\": \"%s\"}]",
            r->kind == BODY_CHAT ? "\"delta\": {}" : "\"text\": \"\"", finish_reason(g));
    end_event(r, out);
    if (r->usage) {
        begin_event(r, out);
        buf_str(out, ", \"choices\": []");
        write_usage(g, out);
        buf_str(out, "}\n\n");
    }
    buf_str(out, "data: [DONE]\n\n");
}

/* ---- Errors ---- */

const char *reply_error_type(unsigned status) {
    return status == 429   ? "rate_limit_error"
           : status == 401 ? "authentication_error"
           : status == 404 ? "not_found_error"
           : status < 500  ? "invalid_request_error"
                           : "server_error";
}

void reply_error(unsigned status, const char *message, const char *field, struct buf *out) {
    buf_str(out, "{\"error\": {\"message\": ");
    json_write_str(out, str_of(message));
    buf_fmt(out, ", \"type\": \"%s\", \"param\": ", reply_error_type(status));
    if (*field)
        json_write_str(out, str_of(field));
    else
        buf_str(out, "null");
    buf_fmt(out, ", \"code\": %s}}", status == 404 ? "\"not_found\"" : "null");
}

#define OPENAI(id)                                                                                 \
    { id, write_whole, write_first, write_text, write_last, reply_error, "data: " }
const struct reply_form reply_forms[BODY_KINDS] = {
    [BODY_CHAT] = OPENAI("chatcmpl-"),
    [BODY_COMPLETION] = OPENAI("cmpl-"),
    [BODY_MESSAGES] = {"msg_", reply_messages_whole, reply_messages_first, reply_messages_text,
                       reply_messages_last, reply_messages_error, "event: error\ndata: "},
};

/* ---- Models ---- */

void reply_model(const struct served *m, struct buf *out) {
    buf_str(out, "{\"id\": ");
    json_write_str(out, str_of(m->name));
    buf_fmt(out, ", \"object\": \"model\", \"created\": %" PRId64 ", \"owned_by\": \"tokpipe\"}",
            m->started);
}

void reply_models(const struct served *models, size_t n, struct buf *out) {
    buf_str(out, "{\"object\": \"list\", \"data\": [");
    for (size_t i = 0; i < n; i++) {
        buf_str(out, i > 0 ? ", " : "");
        reply_model(&models[i], out);
    }
    buf_str(out, "]}");
}
