/* What each path of the server does.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "serve/answer.h"
#include "serve/assets.h"
#include "serve/embeddings.h"
#include "serve/reply.h"

/* ---- Answers ---- */

static void serve_chat(struct exchange *x) {
    answer_serve(x, BODY_CHAT);
}
static void serve_completion(struct exchange *x) {
    answer_serve(x, BODY_COMPLETION);
}
static void serve_messages(struct exchange *x) {
    answer_serve(x, BODY_MESSAGES);
}
static void serve_responses(struct exchange *x) {
    answer_serve(x, BODY_RESPONSES);
}

static void serve_embeddings(struct exchange *x) {
    struct embeddings_body b;
    struct generate_result sum = {.cached_tokens = -1};
    struct err e = {0};
    struct buf out = {0};
    char field[BODY_MAX_FIELD];
    if (embeddings_read(&b, buf_view(&x->body), field, &e) != 0) {
        exchange_refuse(x, MHD_HTTP_BAD_REQUEST, e.msg, field);
        embeddings_free(&b);
        return;
    }
    const struct served *m = exchange_model(x, b.model, SERVED_EMBEDS);
    if (m) {
        exchange_name(x, "", m);
        if (embeddings_run(m->embed, &b, m->name, &out, &sum.prompt_tokens, field, &e) == 0) {
            exchange_count(x, &sum);
            exchange_reply(x, MHD_HTTP_OK, &out);
        } else {
            exchange_refuse(x, exchange_status(&e), e.msg, field);
        }
    }
    buf_free(&out);
    embeddings_free(&b);
}

/* ---- Tokens ---- */

/* {"model": NAME, `name`: value, ...} of /tokenize and /detokenize. vLLM's clients call a text
 * "prompt", llama-server's "content"; without more each gets what it is used to. */
struct tokens_request {
    char *model;
    struct str text; // "prompt" or "content", in the parser's memory
    uint32_t *ids;   // [n] "tokens"
    size_t n;
    bool found, with_pieces;
    bool special, said_special; // BOS and EOS are added; the request says whether
    char field[BODY_MAX_FIELD]; // the path of what is wrong
};

static void read_tokens_member(struct json *j, struct tokens_request *r, const char *member,
                               struct str key) {
    bool is_text = strcmp(member, "prompt") == 0, content = is_text && str_eq(key, "content");
    if ((str_eq(key, member) || content) && !r->found) {
        r->found = true;
        if (!r->said_special)
            r->special = !content;
        if (is_text)
            r->text = json_str(j);
        else
            body_read_ids(j, "tokens", &r->ids, &r->n);
    } else if (str_eq(key, "model") && !r->model) {
        if (!json_null(j))
            r->model = str_dup(json_str(j));
    } else if (is_text && (str_eq(key, "add_special_tokens") || str_eq(key, "add_special"))) {
        r->said_special = true;
        r->special = json_bool(j);
    } else if (is_text && str_eq(key, "with_pieces")) {
        r->with_pieces = json_bool(j);
    } else {
        json_refuse(j, "\"%.*s\" is not a field that this server knows", str_shown(key), key.p);
    }
}

static int read_tokens_request(struct json *j, struct tokens_request *r, const char *member) {
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key)) {
        read_tokens_member(j, r, member, key);
        if (json_failed(j))
            snprintf(r->field, sizeof r->field, "%.*s", str_shown(key), key.p);
    }
    if (!json_failed(j) && !r->found) {
        snprintf(r->field, sizeof r->field, "%s", member);
        json_refuse(j, "\"%s\" is missing", member);
    }
    return json_end(j) ? 0 : -1;
}

/* {"id": 5, "piece": " a"}; a piece that is no text is a list of its bytes. */
static void write_piece(const struct tokenizer *t, uint32_t id, struct buf *out) {
    struct buf bytes = {0};
    tokenizer_bytes(t, id, &bytes);
    buf_fmt(out, "{\"id\": %" PRIu32 ", \"piece\": ", id);
    if (utf8_valid(bytes.p ? bytes.p : "", bytes.n) == bytes.n) {
        json_write_str(out, bytes.p ? buf_view(&bytes) : str_of(""));
    } else {
        for (size_t i = 0; i < bytes.n; i++)
            buf_fmt(out, "%s%u", i ? ", " : "[", (unsigned)(unsigned char)bytes.p[i]);
        buf_byte(out, ']');
    }
    buf_byte(out, '}');
    buf_free(&bytes);
}

/* The answer to /tokenize: {"count": 3, "tokens": [1, 2, 3]}. */
static int tokenize(struct exchange *x, const struct served *m, const struct tokens_request *r,
                    struct buf *out, struct err *e) {
    struct encoder *en = encoder_new(m->tokenizer);
    struct token_ids ids = {0};
    int rc =
        tokenizer_encode(en, r->text, &(struct encode_options){.no_special = !r->special}, &ids, e);
    if (rc == 0)
        rc = exchange_has_room(x, ids.n * sizeof "1234, ", e);
    if (rc == 0) {
        buf_fmt(out, "{\"count\": %zu, \"tokens\": [", ids.n);
        for (size_t i = 0; i < ids.n; i++) {
            buf_str(out, i > 0 ? ", " : "");
            if (r->with_pieces)
                write_piece(m->tokenizer, ids.ids[i], out);
            else
                buf_fmt(out, "%" PRIu32, ids.ids[i]);
        }
        buf_str(out, "]}");
    }
    token_ids_free(&ids);
    encoder_free(en);
    return rc;
}

/* The answer to /detokenize: {"prompt": "text", "content": "text"}. An id of a few bytes may have a
 * long text. */
static int detokenize(struct exchange *x, const struct served *m, const struct tokens_request *r,
                      struct buf *out, struct err *e) {
    struct decoder *d = decoder_new(m->tokenizer, true);
    struct buf text = {0};
    int rc = 0;
    for (size_t i = 0; i < r->n && rc == 0; i++)
        if (r->ids[i] >= tokenizer_vocab(m->tokenizer))
            rc = err_set(e, EXIT_DATA, "tokens has id %" PRIu32 ", past the vocabulary", r->ids[i]);
        else if ((rc = decoder_id(d, r->ids[i], &text, e)) == 0)
            rc = exchange_has_room(x, text.n, e);
    if (rc == 0)
        rc = decoder_end(d, &text, e);
    if (rc == 0) {
        buf_str(out, "{\"prompt\": ");
        json_write_str(out, text.p ? buf_view(&text) : str_of(""));
        buf_str(out, ", \"content\": ");
        json_write_str(out, text.p ? buf_view(&text) : str_of(""));
        buf_byte(out, '}');
    }
    buf_free(&text);
    decoder_free(d);
    return rc;
}

static void serve_tokens(struct exchange *x, const char *member) {
    struct tokens_request r = {0};
    struct err e = {0};
    struct json j;
    struct buf out = {0};
    json_init(&j, "the body", x->body.p, x->body.n, &e);
    int rc = read_tokens_request(&j, &r, member);
    const struct served *m =
        rc == 0 ? exchange_model(x, r.model, SERVED_GENERATES | SERVED_EMBEDS) : NULL;
    if (m)
        rc = (strcmp(member, "tokens") == 0 ? detokenize : tokenize)(x, m, &r, &out, &e);
    if (rc != 0)
        exchange_refuse(x, exchange_status(&e), e.msg, *r.field ? r.field : member);
    else if (m)
        exchange_reply(x, MHD_HTTP_OK, &out);
    json_free(&j);
    buf_free(&out);
    free(r.model);
    free(r.ids);
}

static void serve_tokenizer_info(struct exchange *x) {
    struct buf out = {0};
    const char *name = MHD_lookup_connection_value(x->connection, MHD_GET_ARGUMENT_KIND, "model");
    const struct served *m = exchange_model(x, name, SERVED_GENERATES | SERVED_EMBEDS);
    if (!m)
        return;
    buf_add(&out, m->info.p, m->info.n);
    exchange_reply(x, MHD_HTTP_OK, &out);
}

/* Whether the body is an object that has "messages". */
static bool is_chat(struct str body) {
    struct err ignored = {0};
    struct json j;
    struct str key;
    bool found = false;
    json_init(&j, "the body", body.p, body.n, &ignored);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        found |= str_eq(key, "messages");
        json_skip(&j);
    }
    bool good = json_end(&j);
    json_free(&j);
    return good && found;
}

static void serve_tokenize(struct exchange *x) {
    if (is_chat(buf_view(&x->body)))
        answer_tokenize(x);
    else
        serve_tokens(x, "prompt");
}
static void serve_detokenize(struct exchange *x) {
    serve_tokens(x, "tokens");
}

/* ---- What is here ---- */

static void serve_models(struct exchange *x) {
    struct buf out = {0};
    models_list(x->h->o->models, &out);
    exchange_reply(x, MHD_HTTP_OK, &out);
}

static void serve_model(struct exchange *x) {
    struct buf out = {0};
    const struct served *m = exchange_model(x, x->rest, SERVED_GENERATES | SERVED_EMBEDS);
    if (!m)
        return;
    reply_model(m, &out);
    exchange_reply(x, MHD_HTTP_OK, &out);
}

static void serve_health(struct exchange *x) {
    struct buf out = {0};
    buf_str(&out, "{\"status\": \"ok\"}");
    exchange_reply(x, MHD_HTTP_OK, &out);
}

static void write_metric(struct buf *out, const char *name, const char *type, const char *help,
                         unsigned long long value) {
    buf_fmt(out, "# HELP tokpipe:%s %s\n# TYPE tokpipe:%s %s\ntokpipe:%s %llu\n", name, help, name,
            type, name, value);
}

static void serve_metrics(struct exchange *x) {
    struct http *h = x->h;
    struct buf out = {0};
    write_metric(&out, "num_requests_running", "gauge", "Answers that are being made.",
                 atomic_load(&h->n_answers));
    write_metric(&out, "requests_total", "counter", "Requests of every path.",
                 atomic_load(&h->n_requests));
    write_metric(&out, "requests_refused_total", "counter", "Requests that got an error.",
                 atomic_load(&h->n_refused));
    write_metric(&out, "requests_left_total", "counter", "Clients that left before the end.",
                 atomic_load(&h->n_left));
    write_metric(&out, "prompt_tokens_total", "counter", "Tokens of prompts.",
                 atomic_load(&h->prompt_tokens));
    write_metric(&out, "cached_tokens_total", "counter",
                 "Tokens of prompts that the prefix cache had, where the engine says it.",
                 atomic_load(&h->cached_tokens));
    write_metric(&out, "generation_tokens_total", "counter", "Tokens that were generated.",
                 atomic_load(&h->completion_tokens));
    exchange_reply(x, MHD_HTTP_OK, &out);
}

static void serve_asset(struct exchange *x, struct str bytes) {
    struct buf out = {0};
    buf_add(&out, bytes.p, bytes.n);
    exchange_reply(x, MHD_HTTP_OK, &out);
}

static void serve_page(struct exchange *x) {
    x->security = assets_page_security();
    serve_asset(x, assets_page());
}
static void serve_openapi(struct exchange *x) {
    serve_asset(x, assets_openapi());
}

const struct route routes[] = {
    {"GET", "/", ROUTE_OPEN, "text/html; charset=utf-8", serve_page},
    {"GET", "/openapi.json", ROUTE_OPEN, NULL, serve_openapi},
    {"GET", "/health", ROUTE_OPEN, NULL, serve_health},
    {"GET", "/metrics", 0, "text/plain; version=0.0.4", serve_metrics},
    {"GET", "/v1/models", ROUTE_OPENS, NULL, serve_models},
    {"GET", "/v1/models/", ROUTE_PREFIX | ROUTE_OPENS, NULL, serve_model},
    {"GET", "/tokenizer_info", ROUTE_OPENS, NULL, serve_tokenizer_info},
    {"POST", "/v1/chat/completions", ROUTE_ANSWERS, NULL, serve_chat},
    {"POST", "/v1/completions", ROUTE_ANSWERS, NULL, serve_completion},
    {"POST", "/v1/responses", ROUTE_ANSWERS, NULL, serve_responses},
    {"POST", "/v1/messages", ROUTE_ANSWERS, NULL, serve_messages},
    {"POST", "/v1/messages/count_tokens", ROUTE_ANSWERS, NULL, answer_count},
    {"POST", "/v1/embeddings", ROUTE_ANSWERS, NULL, serve_embeddings},
    {"POST", "/tokenize", ROUTE_ANSWERS, NULL, serve_tokenize},
    {"POST", "/detokenize", ROUTE_ANSWERS, NULL, serve_detokenize},
    {NULL, NULL, 0, NULL, NULL},
};
