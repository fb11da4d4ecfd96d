/* See exchange.h.
 *
 * An exchange is freed when neither the connection's thread nor the answer's needs it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/exchange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve/reply.h"
#include "serve/request.h"

enum { ONE_ANSWER = 4, ALL_ANSWERS = 32 }; // times max_body: what of answers is in memory

double exchange_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void write_log(const struct exchange *x) {
    access_log_write(x->h->o->log,
                     &(struct access_entry){.method = x->method,
                                            .path = x->path.p ? x->path.p : "",
                                            .key = x->key ? api_keys_name(x->key) : NULL,
                                            .id = x->id,
                                            .model = x->model ? x->model->name : NULL,
                                            .finish = x->sum.finish,
                                            .status = x->status,
                                            .seconds = exchange_now() - x->began,
                                            .left = x->left,
                                            .prompt_tokens = x->sum.prompt_tokens,
                                            .completion_tokens = x->sum.completion_tokens,
                                            .cached_tokens = x->sum.cached_tokens,
                                            .body = buf_view(&x->body)});
}

void exchange_drop(struct exchange *x) {
    pthread_mutex_lock(&x->lock);
    bool last = --x->refs == 0;
    pthread_mutex_unlock(&x->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&x->lock);
    if (x->socket >= 0)
        close(x->socket);
    if (x->h->o->log && x->started)
        write_log(x);
    models_release(x->h->o->models, x->held);
    api_keys_release(x->h->o->keys, x->key);
    atomic_fetch_sub(&x->h->body_bytes, x->body.n);
    exchange_release(x, x->reply.n - x->sent);
    buf_free(&x->path);
    buf_free(&x->body);
    buf_free(&x->reply);
    free(x);
}

/* With the lock: lets the connection's thread look at the answer. */
static void wake(struct exchange *x) {
    if (x->suspended && !x->gone)
        MHD_resume_connection(x->connection);
    x->suspended = false;
}

/* The answer is complete: before the client can know it, another may begin in its place. */
static void release(struct exchange *x) {
    if (x->key_runs)
        api_keys_end(x->h->o->keys, x->key, exchange_now(),
                     x->sum.prompt_tokens + x->sum.completion_tokens);
    if (x->counted)
        atomic_fetch_sub(&x->h->n_answers, 1);
    x->key_runs = x->counted = false;
}

void exchange_reply(struct exchange *x, unsigned status, struct buf *reply) {
    release(x);
    pthread_mutex_lock(&x->lock);
    buf_free(&x->reply);
    x->reply = *reply;
    *reply = (struct buf){0};
    atomic_fetch_add(&x->h->held_bytes, x->reply.n);
    x->status = status;
    x->ended = true;
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_refuse_code(struct exchange *x, unsigned status, const char *message,
                          const char *field, const char *code) {
    struct buf reply = {0};
    const char *path = request_after_v1(x->path.p ? x->path.p : "");
    bool messages = strncmp(path, "/messages", 9) == 0;
    atomic_fetch_add(&x->h->n_refused, 1);
    reply_forms[messages ? BODY_MESSAGES : BODY_CHAT].error(status, message, field, code, &reply);
    exchange_reply(x, status, &reply);
}

void exchange_refuse(struct exchange *x, unsigned status, const char *message, const char *field) {
    exchange_refuse_code(x, status, message, field, NULL);
}

void exchange_add(struct exchange *x, struct str part) {
    pthread_mutex_lock(&x->lock);
    buf_add(&x->reply, part.p, part.n);
    atomic_fetch_add(&x->h->held_bytes, part.n);
    x->streams = true;
    x->status = MHD_HTTP_OK;
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_end(struct exchange *x) {
    release(x);
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

static int check_room(const struct exchange *x, size_t one, size_t all, struct err *e) {
    const size_t max = x->h->o->max_body;
    if (one > ONE_ANSWER * max)
        return err_set(e, EXIT_DATA, "more than %zu MiB of the answer wait to be sent",
                       ONE_ANSWER * max >> 20);
    if (all > ALL_ANSWERS * max)
        return err_set(e, EXIT_SYSTEM, "the answers of all requests take too much memory");
    return 0;
}

int exchange_hold(struct exchange *x, size_t held, size_t n, struct err *e) {
    size_t all = atomic_fetch_add(&x->h->held_bytes, n) + n;
    if (check_room(x, held + n, all, e) == 0)
        return 0;
    exchange_release(x, n);
    return -1;
}

void exchange_release(struct exchange *x, size_t n) {
    atomic_fetch_sub(&x->h->held_bytes, n);
}

int exchange_has_room(struct exchange *x, size_t n, struct err *e) {
    pthread_mutex_lock(&x->lock);
    size_t waits = x->reply.n - x->sent + n;
    pthread_mutex_unlock(&x->lock);
    return check_room(x, waits, atomic_load(&x->h->held_bytes) + n, e);
}

void exchange_name(struct exchange *x, const char *id, const struct served *m) {
    snprintf(x->id, sizeof x->id, "%s", id);
    x->model = m;
}

void exchange_count(struct exchange *x, const struct generate_result *sum) {
    x->sum = *sum;
    atomic_fetch_add(&x->h->prompt_tokens, sum->prompt_tokens);
    atomic_fetch_add(&x->h->completion_tokens, sum->completion_tokens);
    if (sum->cached_tokens > 0)
        atomic_fetch_add(&x->h->cached_tokens, (unsigned long long)sum->cached_tokens);
}

const struct served *exchange_model(struct exchange *x, const char *name, unsigned can) {
    struct models *models = x->h->o->models;
    models_release(models, x->held);
    x->held = models_find(models, name, can);
    const struct served *other = name && !x->held ? models_find(models, name, ~0u) : NULL;
    models_release(models, other);
    if (!x->held && !other && x->h->o->any_model) {
        name = NULL;
        x->held = models_find(models, name, can);
    }
    if (x->held)
        return x->held;
    if (other)
        exchange_refuse(x, MHD_HTTP_BAD_REQUEST, "the model is for another path", "model");
    else
        exchange_refuse(x, MHD_HTTP_NOT_FOUND,
                        name ? "the server has no model of this name"
                             : "the server has no model for this path",
                        "model");
    return NULL;
}

unsigned exchange_status(const struct err *e) {
    return e->code == EXIT_DATA || e->code == EXIT_USAGE        ? MHD_HTTP_BAD_REQUEST
           : e->code == EXIT_NO_INPUT || e->code == EXIT_SYSTEM ? MHD_HTTP_SERVICE_UNAVAILABLE
                                                                : MHD_HTTP_INTERNAL_SERVER_ERROR;
}

bool exchange_left(void *ctx) {
    struct exchange *x = ctx;
    char byte;
    pthread_mutex_lock(&x->lock);
    bool gone = x->gone;
    pthread_mutex_unlock(&x->lock);
    if (gone || atomic_load(&x->h->stopping))
        return true;
    ssize_t n = recv(x->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}
