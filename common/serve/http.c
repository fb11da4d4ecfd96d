/* The HTTP side of a server: see http.h.
 *
 * A connection whose answer is not ready is suspended. libmicrohttpd then does not look at its
 * socket, so the answer's thread does (exchange_left). Each exchange is freed when neither thread
 * needs it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/http.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve/exchange.h"
#include "serve/reply.h"

enum { CONNECTION_MEMORY = 32 << 10, STREAM_BLOCK = 4096 };

/* ---- The answer's thread ---- */

static void drop(struct exchange *x) {
    pthread_mutex_lock(&x->lock);
    bool last = --x->refs == 0;
    pthread_mutex_unlock(&x->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&x->lock);
    if (x->socket >= 0)
        close(x->socket);
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

void exchange_reply(struct exchange *x, unsigned status, struct buf *reply) {
    pthread_mutex_lock(&x->lock);
    buf_free(&x->reply);
    x->reply = *reply;
    *reply = (struct buf){0};
    x->status = status;
    x->ended = true;
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_refuse(struct exchange *x, unsigned status, const char *message, const char *field) {
    struct buf reply = {0};
    atomic_fetch_add(&x->h->n_refused, 1);
    bool messages = x->route && strncmp(x->route->path, "/v1/messages", 12) == 0;
    reply_forms[messages ? BODY_MESSAGES : BODY_CHAT].error(status, message, field, &reply);
    exchange_reply(x, status, &reply);
}

void exchange_add(struct exchange *x, struct str part) {
    pthread_mutex_lock(&x->lock);
    buf_add(&x->reply, part.p, part.n);
    x->streams = true;
    x->status = MHD_HTTP_OK;
    wake(x);
    pthread_mutex_unlock(&x->lock);
}

void exchange_end(struct exchange *x) {
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    wake(x);
    pthread_mutex_unlock(&x->lock);
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

static void *run_answer(void *arg) {
    struct exchange *x = arg;
    struct http *h = x->h;
    x->route->serve(x);
    drop(x);
    atomic_fetch_sub(&h->n_answers, 1);
    return NULL;
}

/* ---- The connections' thread ---- */

static const struct route *route_of(const char *method, const char *path, const char **rest,
                                    bool *other_method) {
    for (const struct route *r = routes; r->path; r++) {
        size_t n = strlen(r->path);
        if (strncmp(path, r->path, n) != 0 || (path[n] && !r->prefix))
            continue;
        if (strcmp(method, r->method) == 0) {
            *rest = path + n;
            return r;
        }
        *other_method = true;
    }
    return NULL;
}

/* Whether a page of another site has made the browser ask: its Host is not ours, or its Origin. */
static bool is_foreign(struct exchange *x) {
    static const char *const ours[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *host = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Host"),
               *origin = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Origin");
    bool known = x->h->o->any_host || !host;
    for (size_t i = 0; i < sizeof ours / sizeof *ours && !known; i++) {
        size_t n = strlen(ours[i]);
        known = strncmp(host, ours[i], n) == 0 && (host[n] == '\0' || host[n] == ':');
    }
    if (!known)
        return true;
    const char *site = origin ? strstr(origin, "://") : NULL;
    return origin && (!site || !host || strcmp(site + 3, host) != 0);
}

/* The whole request has come. Answers it, or starts the thread that does. */
static void start(struct exchange *x, bool other_method) {
    struct http *h = x->h;
    pthread_t thread;
    x->started = true;
    atomic_fetch_add(&h->n_requests, 1);
    if (is_foreign(x)) {
        exchange_refuse(x, MHD_HTTP_FORBIDDEN, "the request is from another site's page", "");
    } else if (!x->route) {
        exchange_refuse(x, other_method ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND,
                        other_method ? "the path has another method" : "no such path", "");
    } else if (x->body_too_long) {
        exchange_refuse(x, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too long", "");
    } else if (!x->route->answers) {
        x->route->serve(x);
    } else if (atomic_fetch_add(&h->n_answers, 1) >= h->o->max_answers) {
        atomic_fetch_sub(&h->n_answers, 1);
        exchange_refuse(x, MHD_HTTP_TOO_MANY_REQUESTS, "too many answers are being made", "");
    } else {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        x->socket = info ? dup(info->connect_fd) : -1;
        MHD_suspend_connection(x->connection);
        x->suspended = true;
        x->refs++;
        if (x->socket >= 0 && pthread_create(&thread, NULL, run_answer, x) == 0) {
            pthread_detach(thread);
            return;
        }
        x->refs--;
        atomic_fetch_sub(&h->n_answers, 1);
        exchange_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "no thread for the answer", "");
    }
}

/* More of an answer that streams, for libmicrohttpd. */
static ssize_t give_stream(void *ctx, uint64_t pos, char *to, size_t max) {
    struct exchange *x = ctx;
    ssize_t n = 0;
    (void)pos;
    pthread_mutex_lock(&x->lock);
    size_t left = x->reply.n - x->sent;
    if (left > 0) {
        n = (ssize_t)(left < max ? left : max);
        memcpy(to, x->reply.p + x->sent, (size_t)n);
        x->sent += (size_t)n;
    } else if (x->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        x->suspended = true;
        MHD_suspend_connection(x->connection);
    }
    if (x->sent == x->reply.n) { // a long answer takes no more memory than what waits
        buf_clear(&x->reply);
        x->sent = 0;
    }
    pthread_mutex_unlock(&x->lock);
    return n;
}

static enum MHD_Result queue(struct exchange *x) {
    struct MHD_Response *response;
    unsigned status = x->status;
    if (x->streams) {
        response =
            MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BLOCK, give_stream, x, NULL);
    } else {
        response = MHD_create_response_from_buffer(x->reply.n, x->reply.p ? x->reply.p : "",
                                                   MHD_RESPMEM_MUST_COPY);
    }
    if (!response)
        return MHD_NO;
    bool text = x->route && strcmp(x->route->path, "/metrics") == 0;
    MHD_add_response_header(response, "Content-Type",
                            x->streams ? "text/event-stream"
                            : text     ? "text/plain; version=0.0.4"
                                       : "application/json");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (status == MHD_HTTP_TOO_MANY_REQUESTS)
        MHD_add_response_header(response, "Retry-After", "1");
    enum MHD_Result rc = MHD_queue_response(x->connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state) {
    struct http *h = ctx;
    struct exchange *x = *state;
    bool other_method = false;
    (void)version;
    if (!x) {
        x = xcalloc(1, sizeof *x);
        *x = (struct exchange){.h = h, .connection = connection, .socket = -1, .refs = 1};
        pthread_mutex_init(&x->lock, NULL);
        buf_str(&x->path, url);
        *state = x;
        return MHD_YES;
    }
    if (*size > 0) {
        x->body_too_long |= *size > h->o->max_body - x->body.n;
        if (!x->body_too_long)
            buf_add(&x->body, data, *size);
        *size = 0;
        return MHD_YES;
    }
    x->route = route_of(method, x->path.p, &x->rest, &other_method);
    if (!x->started)
        start(x, other_method);
    pthread_mutex_lock(&x->lock);
    bool ready = x->status != 0;
    pthread_mutex_unlock(&x->lock);
    return ready ? queue(x) : MHD_YES;
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why) {
    struct exchange *x = *state;
    (void)ctx;
    (void)connection;
    (void)why;
    if (!x)
        return;
    pthread_mutex_lock(&x->lock);
    x->gone = true;
    pthread_mutex_unlock(&x->lock);
    drop(x);
    *state = NULL;
}

/* ---- Beginning and end ---- */

struct http *http_start(int fd, const struct http_options *o, struct err *e) {
    struct http *h = xcalloc(1, sizeof *h);
    h->o = o;
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_CONNECTION_LIMIT, o->max_connections, MHD_OPTION_CONNECTION_TIMEOUT,
        o->idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (!h->daemon) {
        free(h);
        err_set(e, EXIT_SYSTEM, "cannot start the HTTP server");
        return NULL;
    }
    return h;
}

void http_stop(struct http *h, unsigned grace) {
    const struct timespec tenth = {.tv_nsec = 100000000};
    int fd = MHD_quiesce_daemon(h->daemon);
    for (unsigned i = 0; i < 10 * grace && atomic_load(&h->n_answers) > 0; i++)
        nanosleep(&tenth, NULL);
    atomic_store(&h->stopping, true);
    while (atomic_load(&h->n_answers) > 0)
        nanosleep(&tenth, NULL);
    MHD_stop_daemon(h->daemon);
    if (fd >= 0)
        close(fd);
    free(h);
}
