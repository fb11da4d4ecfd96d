/* Answers in the form of OpenAI's completions and chat completions, errors and models: see reply.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/reply.h"

#include <inttypes.h>
#include <sodium.h>
#include <time.h>

#include "base/json.h"

void reply_begin(struct reply *r, const struct body *body, const struct served *m) {
    unsigned char bytes[12];
    *r = (struct reply){
        .form = &reply_forms[body->kind], .body = body, .model = m, .created = (int64_t)time(NULL)};
    randombytes_buf(bytes, sizeof bytes);
    sodium_bin2hex(r->hex, sizeof r->hex, bytes, sizeof bytes);
    snprintf(r->id, sizeof r->id, "%s%s", r->form->id, r->hex);
    if (body->top >= 0)
        r->piece = decoder_new(m->tokenizer, true);
}

void reply_free(struct reply *r) {
    decoder_free(r->piece);
    buf_free(&r->text);
    buf_free(&r->logprobs);
}

void reply_sum(const struct body *b, const struct reply_choice *choices, size_t n,
               struct generate_result *sum) {
    *sum = (struct generate_result){.cached_tokens = -1};
    memcpy(sum->finish, choices->result.finish, sizeof sum->finish);
    for (size_t i = 0; i < n; i++) {
        const struct generate_result *g = &choices[i].result;
        sum->completion_tokens += g->completion_tokens;
        if (i % b->n_choices != 0)
            continue;
        sum->prompt_tokens += g->prompt_tokens;
        if (g->cached_tokens >= 0)
            sum->cached_tokens =
                g->cached_tokens + (sum->cached_tokens > 0 ? sum->cached_tokens : 0);
        if (g->cache_why[0])
            memcpy(sum->cache_why, g->cache_why, sizeof sum->cache_why);
    }
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
            ", \"total_tokens\": %" PRIu64,
            g->prompt_tokens, g->completion_tokens, g->prompt_tokens + g->completion_tokens);
    if (g->cached_tokens >= 0)
        buf_fmt(out, ", \"prompt_tokens_details\": {\"cached_tokens\": %" PRId64 "}",
                g->cached_tokens);
    if (g->cache_why[0]) {
        buf_str(out, ", \"cache_why\": ");
        json_write_str(out, str_of(g->cache_why));
    }
    buf_byte(out, '}');
}

static bool is_chat(const struct reply *r) {
    return r->body->kind == BODY_CHAT;
}

static void write_whole(struct reply *r, const struct reply_choice *choices, size_t n,
                        struct buf *out) {
    struct generate_result sum;
    write_head(r, is_chat(r) ? "chat.completion" : "text_completion", out);
    buf_str(out, ", \"choices\": [");
    for (size_t i = 0; i < n; i++) {
        const struct reply_choice *c = &choices[i];
        buf_fmt(out, "%s{\"index\": %zu, ", i ? ", " : "", i);
        buf_str(out,
                is_chat(r) ? "\"message\": {\"role\": \"assistant\", \"content\": " : "\"text\": ");
        json_write_str(out, c->text.p ? buf_view(&c->text) : str_of(""));
        buf_fmt(out, "%s, \"logprobs\": ", is_chat(r) ? ", \"refusal\": null}" : "");
        if (r->body->top < 0)
            buf_str(out, "null");
        else
            reply_logprobs_write(&c->logprobs, r->body->kind, out);
        buf_fmt(out, ", \"finish_reason\": \"%s\"}", finish_reason(&c->result));
    }
    buf_byte(out, ']');
    reply_sum(r->body, choices, n, &sum);
    write_usage(&sum, out);
    buf_byte(out, '}');
}

/* ---- Events ---- */

static void begin_event(const struct reply *r, struct buf *out) {
    buf_str(out, "data: ");
    write_head(r, is_chat(r) ? "chat.completion.chunk" : "text_completion", out);
}

static void end_event(const struct reply *r, struct buf *out) {
    buf_str(out, r->body->include_usage ? ", \"usage\": null}\n\n" : "}\n\n");
}

static void write_first(struct reply *r, size_t choice, struct buf *out) {
    if (!is_chat(r))
        return;
    begin_event(r, out);
    buf_fmt(out,
            ", \"choices\": [{\"index\": %zu, \"delta\": {\"role\": \"assistant\", \"content\": "
            "\"\"}, \"logprobs\": null, \"finish_reason\": null}]",
            choice);
    end_event(r, out);
}

static void write_part(struct reply *r, size_t choice, const struct generate_part *p,
                       struct buf *out) {
    begin_event(r, out);
    buf_fmt(out, ", \"choices\": [{\"index\": %zu, ", choice);
    buf_str(out, is_chat(r) ? "\"delta\": {\"content\": " : "\"text\": ");
    json_write_str(out, p->text.p ? p->text : str_of(""));
    buf_fmt(out, "%s, \"logprobs\": ", is_chat(r) ? "}" : "");
    if (p->n_tokens > 0) {
        struct reply_logprobs l = {0};
        reply_logprobs_add(&l, r->body->kind, r->model->tokenizer, r->piece, p);
        reply_logprobs_write(&l, r->body->kind, out);
        reply_logprobs_free(&l);
    } else {
        buf_str(out, "null");
    }
    buf_str(out, ", \"finish_reason\": null}]");
    end_event(r, out);
}

static void write_end(struct reply *r, size_t choice, const struct generate_result *g,
                      struct buf *out) {
    begin_event(r, out);
    buf_fmt(out,
            ", \"choices\": [{\"index\": %zu, %s, \"logprobs\": null, \"finish_reason\": \"%s\"}]",
            choice, is_chat(r) ? "\"delta\": {}" : "\"text\": \"\"", finish_reason(g));
    end_event(r, out);
}

static void write_last(struct reply *r, const struct generate_result *sum, struct buf *out) {
    if (r->body->include_usage) {
        begin_event(r, out);
        buf_str(out, ", \"choices\": []");
        write_usage(sum, out);
        buf_str(out, "}\n\n");
    }
    buf_str(out, "data: [DONE]\n\n");
}

/* ---- Errors ---- */

const char *reply_error_type(unsigned status) {
    return status == 429   ? "rate_limit_error"
           : status == 401 ? "authentication_error"
           : status == 403 ? "permission_error"
           : status == 404 ? "not_found_error"
           : status < 500  ? "invalid_request_error"
                           : "server_error";
}

static const char *error_code(unsigned status) {
    return status == 401   ? "invalid_api_key"
           : status == 404 ? "not_found"
           : status == 429 ? "rate_limit_exceeded"
                           : NULL;
}

void reply_error(unsigned status, const char *message, const char *field, const char *code,
                 struct buf *out) {
    buf_str(out, "{\"error\": {\"message\": ");
    json_write_str(out, str_of(message));
    buf_fmt(out, ", \"type\": \"%s\", \"param\": ", reply_error_type(status));
    if (*field)
        json_write_str(out, str_of(field));
    else
        buf_str(out, "null");
    if (!code)
        code = error_code(status);
    buf_fmt(out, code ? ", \"code\": \"%s\"}}" : ", \"code\": null}}", code);
}

static void write_stream_error(struct reply *r, unsigned status, const char *message,
                               struct buf *out) {
    (void)r;
    buf_str(out, "data: ");
    reply_error(status, message, "", NULL, out);
    buf_str(out, "\n\n");
}

#define OPENAI(id)                                                                                 \
    {                                                                                              \
        id, write_whole, write_first, write_part, write_end, write_last, reply_error,              \
            write_stream_error                                                                     \
    }
const struct reply_form reply_forms[BODY_KINDS] = {
    [BODY_CHAT] = OPENAI("chatcmpl-"),
    [BODY_COMPLETION] = OPENAI("cmpl-"),
    [BODY_MESSAGES] = {"msg_", reply_messages_whole, reply_messages_first, reply_messages_part,
                       reply_messages_end, reply_messages_last, reply_messages_error,
                       reply_messages_stream_error},
    [BODY_RESPONSES] = {"resp_", reply_responses_whole, reply_responses_first, reply_responses_part,
                        reply_responses_end, reply_responses_last, reply_error,
                        reply_responses_stream_error},
};

/* ---- Models ---- */

void reply_model(const struct served *m, struct buf *out) {
    buf_str(out, "{\"id\": ");
    json_write_str(out, str_of(m->name));
    buf_fmt(out,
            ", \"object\": \"model\", \"created\": %" PRId64
            ", \"owned_by\": \"tokpipe\", \"generates\": %s",
            m->started, m->can & SERVED_GENERATES ? "true" : "false");
    if (m->can & SERVED_GENERATES)
        buf_fmt(out, ", \"sampling\": {\"temp\": %.9g%s%s}", m->temp, m->defaults.n ? ", " : "",
                m->defaults.n ? m->defaults.p : "");
    buf_byte(out, '}');
}
