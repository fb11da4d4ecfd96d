/* What each path of the server does.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/utf8.h"
#include "serve/exchange.h"
#include "serve/generate.h"
#include "serve/reply.h"

static unsigned status_of(const struct err *e) {
    return e->code == EXIT_DATA || e->code == EXIT_USAGE        ? MHD_HTTP_BAD_REQUEST
           : e->code == EXIT_NO_INPUT || e->code == EXIT_SYSTEM ? MHD_HTTP_SERVICE_UNAVAILABLE
                                                                : MHD_HTTP_INTERNAL_SERVER_ERROR;
}

/* NULL: the first model. */
static const struct served *model_named(const struct http *h, const char *name) {
    for (size_t i = 0; i < h->o->n_models; i++)
        if (!name || strcmp(h->o->models[i].name, name) == 0)
            return &h->o->models[i];
    return NULL;
}

/* ---- Answers ---- */

struct answer_out {
    struct exchange *x;
    struct reply reply;
    bool streams, begun;
    struct buf text; // unless it streams and is not recorded
};

static int take_text(void *ctx, struct str text) {
    struct answer_out *a = ctx;
    struct buf event = {0};
    if (!a->streams || a->x->h->o->record)
        buf_add(&a->text, text.p, text.n);
    if (!a->streams)
        return 0;
    if (!a->begun)
        a->reply.form->first(&a->reply, &event);
    a->begun = true;
    a->reply.form->text(&a->reply, text, &event);
    exchange_add(a->x, buf_view(&event));
    buf_free(&event);
    return 0;
}

static bool has_left(void *ctx) {
    struct answer_out *a = ctx;
    return exchange_left(a->x);
}

/* Writes FOLDER/ID.ENDING where requests are recorded: a request's line of tokens(5), and the text
 * of its answer. */
static int record(const struct answer_out *a, const char *ending, struct str bytes, struct err *e) {
    const char *folder = a->x->h->o->record;
    struct outfile f;
    if (!folder)
        return 0;
    char *name = xasprintf("%s.%s", a->reply.id, ending), *path = path_join(folder, name);
    int rc = outfile_open(&f, path, e);
    if (rc == 0 && outfile_write(&f, bytes.p, bytes.n, e) != 0) {
        outfile_abort(&f);
        rc = -1;
    } else if (rc == 0) {
        rc = outfile_commit(&f, e);
    }
    free(name);
    free(path);
    return rc;
}

static void finish(struct answer_out *a, const struct generate_result *g) {
    struct buf out = {0};
    atomic_fetch_add(&a->x->h->prompt_tokens, g->prompt_tokens);
    atomic_fetch_add(&a->x->h->completion_tokens, g->completion_tokens);
    if (!a->streams) {
        a->reply.form->whole(&a->reply, buf_view(&a->text), g, &out);
        exchange_reply(a->x, MHD_HTTP_OK, &out);
        return;
    }
    if (!a->begun)
        a->reply.form->first(&a->reply, &out);
    a->reply.form->last(&a->reply, g, &out);
    exchange_add(a->x, buf_view(&out));
    exchange_end(a->x);
    buf_free(&out);
}

/* The answer failed, perhaps after a part of it was sent. */
static void fail(struct answer_out *a, const struct err *e) {
    struct buf out = {0};
    if (!a->begun) {
        exchange_refuse(a->x, status_of(e), e->msg, "");
        return;
    }
    buf_str(&out, a->reply.form->error_event);
    a->reply.form->error(status_of(e), e->msg, "", &out);
    buf_str(&out, "\n\n");
    exchange_add(a->x, buf_view(&out));
    exchange_end(a->x);
    buf_free(&out);
}

static void answer(struct exchange *x, const struct body *b, enum body_kind kind,
                   const struct served *m) {
    struct answer_out a = {.x = x, .streams = b->stream};
    struct generate_sink sink = {&a, take_text, has_left};
    struct generate_result g;
    struct buf line = {0};
    struct err e = {0};
    reply_begin(&a.reply, kind, m);
    a.reply.usage = b->include_usage;
    int rc = generate_prompt(m, b, &line, &e);
    if (rc != 0 && e.code == EXIT_NO_INPUT) // no chat template: the request is at fault
        e.code = EXIT_DATA;
    if (rc == 0)
        rc = record(&a, "tokens", buf_view(&line), &e);
    if (rc == 0)
        rc = generate(m, buf_view(&line), &sink, &g, &e);
    if (rc == 0)
        rc = record(&a, "text", buf_view(&a.text), &e);
    if (rc == GENERATE_LEFT)
        atomic_fetch_add(&x->h->n_left, 1);
    if (rc == 0)
        finish(&a, &g);
    else if (rc == GENERATE_LEFT && a.begun)
        exchange_end(x);
    else if (rc == GENERATE_LEFT)
        exchange_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "the answer was not finished", "");
    else
        fail(&a, &e);
    buf_free(&a.text);
    buf_free(&line);
}

static void serve_answer(struct exchange *x, enum body_kind kind) {
    struct body b;
    struct err e = {0};
    char field[64];
    if (body_read(&b, kind, buf_view(&x->body), field, sizeof field, &e) != 0) {
        exchange_refuse(x, MHD_HTTP_BAD_REQUEST, e.msg, field);
    } else {
        const struct served *m = model_named(x->h, b.model);
        if (m)
            answer(x, &b, kind, m);
        else
            exchange_refuse(x, MHD_HTTP_NOT_FOUND, "the server has no model of this name", "model");
    }
    body_free(&b);
}

static void serve_chat(struct exchange *x) {
    serve_answer(x, BODY_CHAT);
}
static void serve_completion(struct exchange *x) {
    serve_answer(x, BODY_COMPLETION);
}
static void serve_messages(struct exchange *x) {
    serve_answer(x, BODY_MESSAGES);
}

/* /v1/messages/count_tokens: {"input_tokens": 12}. */
static void serve_count(struct exchange *x) {
    struct body b;
    struct err e = {0};
    struct buf out = {0};
    char field[64];
    uint64_t n = 0;
    const struct served *m = NULL;
    int rc = body_read(&b, BODY_MESSAGES, buf_view(&x->body), field, sizeof field, &e);
    if (rc == 0 && (m = model_named(x->h, b.model)))
        rc = generate_count(m, &b, &n, &e);
    if (rc != 0) {
        exchange_refuse(x, MHD_HTTP_BAD_REQUEST, e.msg, field);
    } else if (!m) {
        exchange_refuse(x, MHD_HTTP_NOT_FOUND, "the server has no model of this name", "model");
    } else {
        buf_fmt(&out, "{\"input_tokens\": %" PRIu64 "}", n);
        exchange_reply(x, MHD_HTTP_OK, &out);
    }
    body_free(&b);
}

/* ---- Tokens ---- */

/* Reads {"model": NAME, `name`: value, ...} of /tokenize and /detokenize. */
struct tokens_request {
    char *model;
    struct str text; // "prompt", in the parser's memory
    uint32_t *ids;   // [n] "tokens"
    size_t n;
    bool no_special, found;
};

static int read_tokens_request(struct json *j, struct tokens_request *r, const char *member) {
    struct str key;
    json_enter_object(j);
    while (json_key(j, &key)) {
        if (str_eq(key, member) && !r->found) {
            r->found = true;
            if (strcmp(member, "prompt") == 0)
                r->text = json_str(j);
            else
                body_read_ids(j, "tokens", &r->ids, &r->n);
        } else if (str_eq(key, "model") && !r->model) {
            if (!json_null(j))
                r->model = str_dup(json_str(j));
        } else if (str_eq(key, "add_special_tokens") && strcmp(member, "prompt") == 0) {
            r->no_special = !json_bool(j);
        } else {
            json_refuse(j, "\"%.*s\" is not a field that this server knows", str_shown(key), key.p);
        }
    }
    if (!json_failed(j) && !r->found)
        json_refuse(j, "\"%s\" is missing", member);
    return json_end(j) ? 0 : -1;
}

/* The answer to /tokenize: {"count": 3, "tokens": [1, 2, 3]}. */
static int tokenize(const struct served *m, const struct tokens_request *r, struct buf *out,
                    struct err *e) {
    struct encoder *en = encoder_new(m->tokenizer);
    struct token_ids ids = {0};
    int rc = tokenizer_encode(en, r->text, &(struct encode_options){.no_special = r->no_special},
                              &ids, e);
    if (rc == 0) {
        buf_fmt(out, "{\"count\": %zu, \"tokens\": [", ids.n);
        for (size_t i = 0; i < ids.n; i++)
            buf_fmt(out, "%s%" PRIu32, i > 0 ? ", " : "", ids.ids[i]);
        buf_str(out, "]}");
    }
    token_ids_free(&ids);
    encoder_free(en);
    return rc;
}

/* The answer to /detokenize: {"prompt": "text"}. */
static int detokenize(const struct served *m, const struct tokens_request *r, struct buf *out,
                      struct err *e) {
    struct decoder *d = decoder_new(m->tokenizer, true);
    struct buf text = {0};
    int rc = 0;
    for (size_t i = 0; i < r->n && rc == 0; i++)
        if (r->ids[i] >= tokenizer_vocab(m->tokenizer))
            rc = err_set(e, EXIT_DATA, "tokens has id %" PRIu32 ", past the vocabulary", r->ids[i]);
        else
            rc = decoder_id(d, r->ids[i], &text, e);
    if (rc == 0)
        rc = decoder_end(d, &text, e);
    if (rc == 0) {
        buf_str(out, "{\"prompt\": ");
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
    const struct served *m = rc == 0 ? model_named(x->h, r.model) : NULL;
    if (rc == 0 && !m) {
        exchange_refuse(x, MHD_HTTP_NOT_FOUND, "the server has no model of this name", "model");
    } else {
        if (rc == 0)
            rc = (r.ids || strcmp(member, "tokens") == 0 ? detokenize : tokenize)(m, &r, &out, &e);
        if (rc == 0)
            exchange_reply(x, MHD_HTTP_OK, &out);
        else
            exchange_refuse(x, status_of(&e), e.msg, "");
    }
    json_free(&j);
    buf_free(&out);
    free(r.model);
    free(r.ids);
}

static void serve_tokenize(struct exchange *x) {
    serve_tokens(x, "prompt");
}
static void serve_detokenize(struct exchange *x) {
    serve_tokens(x, "tokens");
}

/* ---- What is here ---- */

static void serve_models(struct exchange *x) {
    struct buf out = {0};
    reply_models(x->h->o->models, x->h->o->n_models, &out);
    exchange_reply(x, MHD_HTTP_OK, &out);
}

static void serve_model(struct exchange *x) {
    struct buf out = {0};
    const struct served *m = model_named(x->h, x->rest);
    if (!m) {
        exchange_refuse(x, MHD_HTTP_NOT_FOUND, "the server has no model of this name", "model");
        return;
    }
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
    write_metric(&out, "generation_tokens_total", "counter", "Tokens that were generated.",
                 atomic_load(&h->completion_tokens));
    exchange_reply(x, MHD_HTTP_OK, &out);
}

const struct route routes[] = {
    {"GET", "/health", false, false, serve_health},
    {"GET", "/metrics", false, false, serve_metrics},
    {"GET", "/v1/models", false, false, serve_models},
    {"GET", "/v1/models/", true, false, serve_model},
    {"POST", "/v1/chat/completions", false, true, serve_chat},
    {"POST", "/v1/completions", false, true, serve_completion},
    {"POST", "/v1/messages", false, true, serve_messages},
    {"POST", "/v1/messages/count_tokens", false, true, serve_count},
    {"POST", "/tokenize", false, true, serve_tokenize},
    {"POST", "/detokenize", false, true, serve_detokenize},
    {NULL, NULL, false, false, NULL},
};
