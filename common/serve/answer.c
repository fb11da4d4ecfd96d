/* Requests whose answers are generated: see answer.h.
 *
 *     body --> prompts --> choices: each a line of tokens(5) --> generate --> parts --> the form
 *
 * A request has n choices of each prompt. Up to WORKERS of them run at the same time, each with its
 * own connection to the engine. The first choice of a prompt goes ahead; the others begin when its
 * prompt has run and is in the prefix cache. Parts of choices are written as they come.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/answer.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/io.h"
#include "base/json.h"
#include "serve/reply.h"

enum { WORKERS = 16 }; // choices of one request that run at the same time

struct answer_run {
    struct exchange *x;
    const struct body *b;
    const struct served *m;
    struct generate_prompt *prompts; // [b->n_prompts]
    struct reply_choice *choices;    // [n]
    struct buf *records;             // [n] texts without an echo, where requests are recorded
    size_t n, next;                  // choices; those that workers have taken
    struct reply reply;
    pthread_mutex_t lock; // of what follows, of next, and of the order of parts
    pthread_cond_t changed;
    bool *began; // [b->n_prompts] the prompt has run
    bool *first; // [n] a part was written
    bool any;    // a part was written
    bool full;   // there is no room for a part, as e says
    size_t held; // bytes of the choices, where they wait for their end
    atomic_bool stop;
    int rc; // of the first choice that failed
    struct err e;
};

struct choice_run {
    struct answer_run *a;
    size_t prompt, choice, index; // choice of its prompt; index of all
};

/* ---- A choice ---- */

static size_t choice_bytes(const struct reply_choice *c) {
    const struct reply_logprobs *l = &c->logprobs;
    return c->text.n + l->items.n + l->values.n + l->tops.n + l->offsets.n;
}

/* With the lock. A part of an answer that is sent as a whole. */
static int store_part(struct choice_run *c, const struct generate_part *p) {
    struct answer_run *a = c->a;
    struct reply_choice *to = &a->choices[c->index];
    size_t before = choice_bytes(to);
    buf_add(&to->text, p->text.p, p->text.n);
    reply_logprobs_add(&to->logprobs, a->b->kind, a->m->tokenizer, a->reply.piece, p);
    size_t more = choice_bytes(to) - before;
    if (exchange_hold(a->x, a->held, more, &a->e) != 0)
        return -1;
    a->held += more;
    return 0;
}

/* With the lock. A part of a stream. */
static int send_part(struct choice_run *c, const struct generate_part *p) {
    struct answer_run *a = c->a;
    struct buf event = {0};
    if (!a->first[c->index])
        a->reply.form->first(&a->reply, c->index, &event);
    a->first[c->index] = a->any = true;
    a->reply.form->part(&a->reply, c->index, p, &event);
    int rc = exchange_has_room(a->x, event.n, &a->e);
    if (rc == 0)
        exchange_add(a->x, buf_view(&event));
    buf_free(&event);
    return rc;
}

static int take_part(void *ctx, const struct generate_part *p) {
    struct choice_run *c = ctx;
    struct answer_run *a = c->a;
    if (a->records && !p->is_prompt)
        buf_add(&a->records[c->index], p->text.p, p->text.n);
    pthread_mutex_lock(&a->lock);
    if (!a->full)
        a->full = (a->b->stream ? send_part(c, p) : store_part(c, p)) != 0;
    int rc = a->full ? -1 : 0;
    pthread_mutex_unlock(&a->lock);
    return rc;
}

static bool has_left(void *ctx) {
    const struct choice_run *c = ctx;
    return atomic_load(&c->a->stop) || exchange_left(c->a->x);
}

static void has_begun(void *ctx) {
    struct choice_run *c = ctx;
    pthread_mutex_lock(&c->a->lock);
    c->a->began[c->prompt] = true;
    pthread_cond_broadcast(&c->a->changed);
    pthread_mutex_unlock(&c->a->lock);
}

/* Writes FOLDER/ID.ENDING where requests are recorded: a choice's line of tokens(5), and the text
 * of its answer. The id of all choices but the first has their number. */
static int record(const struct choice_run *c, const char *ending, struct str bytes, struct err *e) {
    const char *folder = c->a->x->h->o->record;
    struct outfile f;
    char number[24] = "";
    if (!folder)
        return 0;
    if (c->index > 0)
        snprintf(number, sizeof number, "-%zu", c->index);
    char *name = xasprintf("%s%s.%s", c->a->reply.id, number, ending),
         *path = path_join(folder, name);
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

/* A streamed choice is complete. */
static void end_choice(struct choice_run *c, const struct generate_result *g) {
    struct answer_run *a = c->a;
    struct buf event = {0};
    if (!a->b->stream)
        return;
    pthread_mutex_lock(&a->lock);
    if (!a->first[c->index])
        a->reply.form->first(&a->reply, c->index, &event);
    a->first[c->index] = a->any = true;
    a->reply.form->end(&a->reply, c->index, g, &event);
    exchange_add(a->x, buf_view(&event));
    pthread_mutex_unlock(&a->lock);
    buf_free(&event);
}

static int run_choice(struct choice_run *c, struct err *e) {
    struct answer_run *a = c->a;
    struct generate_result *g = &a->choices[c->index].result;
    const struct generate_sink sink = {c, take_part, has_left, a->x->socket, has_begun};
    struct buf line = {0};
    generate_choice(a->b, &a->prompts[c->prompt], c->choice, &line);
    const struct generate_ask ask = {.line = buf_view(&line),
                                     .prompt = &a->prompts[c->prompt],
                                     .top = a->b->top,
                                     .echo = a->b->echo,
                                     .no_answer = a->b->no_answer};
    int rc = record(c, "tokens", buf_view(&line), e);
    if (rc == 0)
        rc = generate(a->m, &ask, &sink, g, e);
    if (rc == 0 && a->records)
        rc = record(c, "text", buf_view(&a->records[c->index]), e);
    if (rc == 0)
        end_choice(c, g);
    buf_free(&line);
    return rc;
}

/* ---- All choices ---- */

/* Which choice is run as number i: the first ones of all prompts, then the others. */
static void choice_at(const struct answer_run *a, size_t i, struct choice_run *c) {
    size_t others = a->b->n_choices - 1, first = a->b->n_prompts;
    c->prompt = i < first ? i : (i - first) / others;
    c->choice = i < first ? 0 : 1 + (i - first) % others;
    c->index = c->prompt * a->b->n_choices + c->choice;
}

static void *work(void *arg) {
    struct answer_run *a = arg;
    pthread_mutex_lock(&a->lock);
    while (a->next < a->n && !atomic_load(&a->stop)) {
        struct choice_run c = {.a = a};
        struct err e = {0};
        choice_at(a, a->next++, &c);
        while (c.choice > 0 && !a->began[c.prompt] && !atomic_load(&a->stop))
            pthread_cond_wait(&a->changed, &a->lock);
        if (atomic_load(&a->stop))
            break;
        pthread_mutex_unlock(&a->lock);
        int rc = run_choice(&c, &e);
        pthread_mutex_lock(&a->lock);
        if (rc != 0 && a->rc == 0) {
            a->rc = a->full ? -1 : rc;
            if (!a->full)
                a->e = e;
        }
        if (rc != 0) {
            atomic_store(&a->stop, true);
            pthread_cond_broadcast(&a->changed);
        }
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static void run_choices(struct answer_run *a) {
    pthread_t threads[WORKERS];
    size_t n = 0;
    while (n + 1 < a->n && n + 1 < WORKERS && pthread_create(&threads[n], NULL, work, a) == 0)
        n++;
    work(a);
    while (n > 0)
        pthread_join(threads[--n], NULL);
}

/* ---- The answer ---- */

/* The field that an error of the engine or the sampler is about. */
static const char *field_of(const struct answer_run *a, const struct err *e) {
    if (a->full || (e->code != EXIT_DATA && e->code != EXIT_USAGE))
        return "";
    return strncmp(e->msg, "logit-bias:", 11) == 0 ? "logit_bias"
           : strncmp(e->msg, "stop-id:", 8) == 0   ? "stop_token_ids"
                                                   : body_prompt_field(a->b->kind);
}

static void finish(struct answer_run *a) {
    struct buf out = {0};
    struct generate_result sum;
    reply_sum(a->b, a->choices, a->n, &sum);
    exchange_count(a->x, &sum);
    if (!a->b->stream) {
        a->reply.form->whole(&a->reply, a->choices, a->n, &out);
        exchange_reply(a->x, MHD_HTTP_OK, &out);
        return;
    }
    a->reply.form->last(&a->reply, &sum, &out);
    exchange_add(a->x, buf_view(&out));
    exchange_end(a->x);
    buf_free(&out);
}

/* Refuses a prompt that is longer than the context, in the words and with the code by which clients
 * know that a conversation must be shortened: openai's and litellm's, and Anthropic's. */
static bool refuse_too_long(struct answer_run *a) {
    uint64_t n, context;
    char message[128];
    const char *form = a->b->kind == BODY_MESSAGES
                           ? "prompt is too long: %" PRIu64 " tokens > %" PRIu64 " maximum"
                           : "the prompt has %" PRIu64 " tokens, and this model's maximum context "
                             "length is %" PRIu64 " tokens";
    if (sscanf(a->e.msg, "%" SCNu64 " ids do not fit into the context of %" SCNu64, &n, &context) !=
        2)
        return false;
    snprintf(message, sizeof message, form, n, context);
    exchange_refuse_code(a->x, MHD_HTTP_BAD_REQUEST, message, body_prompt_field(a->b->kind),
                         "context_length_exceeded");
    return true;
}

/* The answer failed, perhaps after a part of it was sent. */
static void fail(struct answer_run *a) {
    struct buf out = {0};
    const struct err *e = &a->e;
    if (!a->any && refuse_too_long(a))
        return;
    if (!a->any) {
        exchange_refuse(a->x, exchange_status(e), e->msg, field_of(a, e));
        return;
    }
    a->reply.form->stream_error(&a->reply, exchange_status(e), e->msg, &out);
    exchange_add(a->x, buf_view(&out));
    exchange_end(a->x);
    buf_free(&out);
}

static void leave(struct answer_run *a) {
    atomic_fetch_add(&a->x->h->n_left, 1);
    a->x->left = true;
    if (a->any)
        exchange_end(a->x);
    else
        exchange_refuse(a->x, MHD_HTTP_SERVICE_UNAVAILABLE, "the answer was not finished", "");
}

static void init(struct answer_run *a) {
    a->n = a->b->n_prompts * a->b->n_choices;
    a->prompts = xcalloc(a->b->n_prompts, sizeof *a->prompts);
    a->choices = xcalloc(a->n, sizeof *a->choices);
    a->began = xcalloc(a->b->n_prompts, sizeof *a->began);
    a->first = xcalloc(a->n, sizeof *a->first);
    if (a->x->h->o->record)
        a->records = xcalloc(a->n, sizeof *a->records);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    reply_begin(&a->reply, a->b, a->m);
    exchange_name(a->x, a->reply.id, a->m);
}

static void destroy(struct answer_run *a) {
    exchange_release(a->x, a->held);
    for (size_t i = 0; i < a->b->n_prompts; i++)
        generate_prompt_free(&a->prompts[i]);
    for (size_t i = 0; i < a->n; i++) {
        free(a->choices[i].result.stop_text);
        buf_free(&a->choices[i].text);
        reply_logprobs_free(&a->choices[i].logprobs);
        if (a->records)
            buf_free(&a->records[i]);
    }
    free(a->prompts);
    free(a->choices);
    free(a->began);
    free(a->first);
    free(a->records);
    reply_free(&a->reply);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->changed);
}

static void answer(struct exchange *x, struct body *b, const struct served *m) {
    struct answer_run a = {.x = x, .b = b, .m = m};
    if (x->key)
        api_keys_salt(x->key, b->salt);
    // Where keys share a cache, one could find the prompts of another id by id.
    b->explain = x->explain && (!x->key || b->salt[0]);
    if (!b->has_seed)
        b->seed = randombytes_random() & INT32_MAX;
    init(&a);
    for (size_t i = 0; i < b->n_prompts && a.rc == 0; i++)
        a.rc = generate_prompt(m, b, i, &a.prompts[i], &a.e);
    a.reply.prompt_tokens = a.prompts[0].n_ids;
    if (a.rc != 0 && a.e.code == EXIT_NO_INPUT) // no chat template: the request is at fault
        a.e.code = EXIT_DATA;
    if (a.rc == 0)
        run_choices(&a);
    if (a.rc == 0)
        finish(&a);
    else if (a.rc == GENERATE_LEFT)
        leave(&a);
    else
        fail(&a);
    destroy(&a);
}

/* Reads the body and finds its model; NULL if the request was refused. */
static const struct served *read_body(struct exchange *x, struct body *b, enum body_kind kind) {
    struct err e = {0};
    char field[BODY_MAX_FIELD];
    if (body_read(b, kind, buf_view(&x->body), field, &e) != 0) {
        exchange_refuse(x, MHD_HTTP_BAD_REQUEST, e.msg, field);
        return NULL;
    }
    return exchange_model(x, b->model, SERVED_GENERATES);
}

void answer_serve(struct exchange *x, enum body_kind kind) {
    struct body b;
    const struct served *m = read_body(x, &b, kind);
    if (m)
        answer(x, &b, m);
    body_free(&b);
}

void answer_count(struct exchange *x) {
    struct body b;
    struct err e = {0};
    struct buf out = {0};
    struct generate_prompt p = {0};
    const struct served *m = read_body(x, &b, BODY_MESSAGES);
    if (m && generate_prompt(m, &b, 0, &p, &e) != 0) {
        exchange_refuse(x, MHD_HTTP_BAD_REQUEST, e.msg, body_prompt_field(BODY_MESSAGES));
    } else if (m) {
        buf_fmt(&out, "{\"input_tokens\": %zu}", p.n_ids);
        exchange_reply(x, MHD_HTTP_OK, &out);
    }
    generate_prompt_free(&p);
    body_free(&b);
}

/* {"count": 2, "tokens": [5, 6], "token_strs": ["<s>", "Hi"]}. Joined, the texts are that of the
 * prompt: a token that ends inside a character has an empty one, and the next has the character. */
static int write_tokens(const struct served *m, const struct generate_prompt *p, struct buf *out,
                        struct err *e) {
    struct decoder *d = decoder_new(m->tokenizer, true);
    struct buf text = {0}, texts = {0};
    int rc = 0;
    buf_fmt(out, "{\"count\": %zu, \"tokens\": [", p->n_ids);
    for (size_t i = 0; i < p->n_ids && rc == 0; i++) {
        buf_fmt(out, "%s%" PRIu32, i > 0 ? ", " : "", p->ids[i]);
        rc = decoder_id(d, p->ids[i], &text, e);
        if (rc == 0 && i + 1 == p->n_ids)
            rc = decoder_end(d, &text, e);
        buf_str(&texts, i > 0 ? ", " : "");
        json_write_str(&texts, text.n ? buf_view(&text) : str_of(""));
        buf_clear(&text);
    }
    buf_fmt(out, "], \"token_strs\": [%s]}", texts.n ? texts.p : "");
    decoder_free(d);
    buf_free(&text);
    buf_free(&texts);
    return rc;
}

void answer_tokenize(struct exchange *x) {
    struct body b;
    struct err e = {0};
    struct buf out = {0};
    struct generate_prompt p = {0};
    const struct served *m = read_body(x, &b, BODY_CHAT);
    if (m && (generate_prompt(m, &b, 0, &p, &e) != 0 || write_tokens(m, &p, &out, &e) != 0))
        exchange_refuse(x, MHD_HTTP_BAD_REQUEST, e.msg, body_prompt_field(BODY_CHAT));
    else if (m)
        exchange_reply(x, MHD_HTTP_OK, &out);
    buf_free(&out);
    generate_prompt_free(&p);
    body_free(&b);
}
