/* The HTTP side of a server: see http.h.
 *
 * A connection whose answer is not ready is suspended. libmicrohttpd then does not look at its
 * socket, so the answer's thread does (exchange_left). exchange.c has
 * what the two threads share, and request.c what a request's head says.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/http.h"

#include <stdlib.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "serve/exchange.h"
#include "serve/request.h"

enum {
    CONNECTION_MEMORY = 15 << 10, // bytes; a request's headers must fit in
    MANY_CONNECTIONS = 64,
    STREAM_BLOCK = 4096,
    ALL_BODIES = 8 // times max_body
};

static void *run_answer(void *arg) {
    struct exchange *x = arg;
    struct http *h = x->h;
    x->route->serve(x);
    exchange_drop(x);
    atomic_fetch_sub(&h->n_threads, 1); // from now on h may be freed
    return NULL;
}

/* Starts the thread that makes the answer. */
static void start_answer(struct exchange *x) {
    struct http *h = x->h;
    pthread_t thread;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    x->socket = info ? dup(info->connect_fd) : -1;
    MHD_suspend_connection(x->connection);
    x->suspended = true;
    x->refs++;
    atomic_fetch_add(&h->n_threads, 1);
    if (x->socket >= 0 && pthread_create(&thread, NULL, run_answer, x) == 0) {
        pthread_detach(thread);
        return;
    }
    x->refs--;
    atomic_fetch_sub(&h->n_threads, 1);
    exchange_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "no thread for the answer", "");
}

/* Whether there is room for one more answer; else refuses it, and says when to come again. */
static bool admit(struct exchange *x) {
    struct http *h = x->h;
    const char *why = "";
    if (atomic_load(&h->draining)) {
        x->retry = 1;
        exchange_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "the server is ending", "");
        return false;
    }
    if (x->key) {
        x->retry = api_keys_begin(h->o->keys, x->key, exchange_now(), &why);
        x->key_runs = x->retry == 0;
        if (!x->key_runs) {
            exchange_refuse(x, MHD_HTTP_TOO_MANY_REQUESTS, why, "");
            return false;
        }
    }
    x->counted = true;
    if (atomic_fetch_add(&h->n_answers, 1) < h->o->max_answers)
        return true;
    x->retry = 1;
    exchange_refuse(x, MHD_HTTP_TOO_MANY_REQUESTS, "too many answers are being made", "");
    return false;
}

/* The whole request has come. Answers it, or starts the thread that does. */
static void start(struct exchange *x) {
    bool asks_methods = x->allow && strcmp(x->method, "OPTIONS") == 0;
    const char *explain = request_header(x, "X-Tokpipe-Cache");
    x->started = true;
    x->explain = explain && strcmp(explain, "explain") == 0;
    atomic_fetch_add(&x->h->n_requests, 1);
    x->closes = request_is_ambiguous(x);
    if (x->closes) {
        exchange_refuse(x, MHD_HTTP_BAD_REQUEST, "the request has two lengths, or two hosts", "");
    } else if (request_is_foreign(x)) {
        exchange_refuse(x, MHD_HTTP_FORBIDDEN, "the request is from another site's page", "");
    } else if (asks_methods) {
        exchange_reply(x, MHD_HTTP_NO_CONTENT, &(struct buf){0});
    } else if (!x->route) {
        exchange_refuse(x, x->allow ? MHD_HTTP_METHOD_NOT_ALLOWED : MHD_HTTP_NOT_FOUND,
                        x->allow ? "the path has another method" : "no such path", "");
    } else if (!x->has_key && !(x->route->flags & ROUTE_OPEN)) {
        exchange_refuse(x, MHD_HTTP_UNAUTHORIZED,
                        "the request needs a key: Authorization: Bearer KEY", "");
    } else if (x->body_too_long) {
        exchange_refuse(x, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too long", "");
    } else if (x->no_room) {
        x->retry = 1;
        exchange_refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE,
                        "the bodies of all requests take too much memory", "");
    } else if (!(x->route->flags & (ROUTE_ANSWERS | ROUTE_OPENS))) {
        x->route->serve(x);
    } else if ((x->route->flags & ROUTE_OPENS) || admit(x)) {
        start_answer(x);
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
        exchange_release(x, (size_t)n);
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

static void add_headers(const struct exchange *x, struct MHD_Response *response) {
    char seconds[16];
    if (x->retry > 0) {
        snprintf(seconds, sizeof seconds, "%u", x->retry);
        MHD_add_response_header(response, "Retry-After", seconds);
    }
    if (x->closes)
        MHD_add_response_header(response, "Connection", "close");
    if (x->allow && !x->route)
        MHD_add_response_header(response, "Allow", x->allow);
    if (x->status == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (x->security) {
        MHD_add_response_header(response, "Content-Security-Policy", x->security);
        MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    }
    if (!request_from_allowed_site(x))
        return;
    MHD_add_response_header(response, "Access-Control-Allow-Origin", x->h->o->origin);
    MHD_add_response_header(response, "Vary", "Origin");
    if (strcmp(x->method, "OPTIONS") == 0 && x->allow) {
        MHD_add_response_header(response, "Access-Control-Allow-Methods", x->allow);
        MHD_add_response_header(response, "Access-Control-Allow-Headers",
                                "authorization, content-type, x-api-key, x-tokpipe-cache, "
                                "anthropic-version");
        MHD_add_response_header(response, "Access-Control-Max-Age", "600");
    }
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
    MHD_add_response_header(response, "Content-Type",
                            x->streams ? "text/event-stream"
                            : x->route && x->route->type && status == MHD_HTTP_OK
                                ? x->route->type
                                : "application/json");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    add_headers(x, response);
    enum MHD_Result rc = MHD_queue_response(x->connection, status, response);
    MHD_destroy_response(response);
    return rc;
}

/* A new request, of which only the head has come. */
static struct exchange *new_exchange(struct http *h, struct MHD_Connection *connection,
                                     const char *url, const char *method) {
    struct exchange *x = xcalloc(1, sizeof *x);
    *x = (struct exchange){.h = h, .connection = connection, .socket = -1, .refs = 1};
    x->sum.cached_tokens = -1;
    x->began = exchange_now();
    pthread_mutex_init(&x->lock, NULL);
    buf_str(&x->path, url);
    snprintf(x->method, sizeof x->method, "%s", method);
    request_find_key(x);
    x->route = request_route(x);
    return x;
}

/* More of the body. What will not be read is not stored. */
static void take_body(struct exchange *x, const char *data, size_t n) {
    struct http *h = x->h;
    x->body_too_long |= n > h->o->max_body - x->body.n;
    if (x->body_too_long || x->no_room || !x->has_key || !x->route)
        return;
    if (atomic_fetch_add(&h->body_bytes, n) + n > ALL_BODIES * h->o->max_body) {
        atomic_fetch_sub(&h->body_bytes, n);
        x->no_room = true;
        return;
    }
    buf_add(&x->body, data, n);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state) {
    struct exchange *x = *state;
    (void)version;
    if (!x) {
        *state = new_exchange(ctx, connection, url, method);
        return MHD_YES;
    }
    if (*size > 0) {
        take_body(x, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (!x->started)
        start(x);
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
    exchange_drop(x);
    *state = NULL;
}

/* After many connections, gives their memory back to the system: malloc alone would not, because
 * some of what lies above it is in use. */
static void on_connection(void *ctx, struct MHD_Connection *connection, void **state,
                          enum MHD_ConnectionNotificationCode what) {
    struct http *h = ctx;
    (void)connection;
    (void)state;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        h->n_connections++;
        h->most_connections =
            h->n_connections > h->most_connections ? h->n_connections : h->most_connections;
    } else if (--h->n_connections < h->most_connections / 2) {
#if defined(__GLIBC__)
        if (h->most_connections >= MANY_CONNECTIONS)
            malloc_trim(0);
#endif
        h->most_connections = h->n_connections;
    }
}

/* ---- Beginning and end ---- */

struct http *http_start(int fd, const struct http_options *o, struct err *e) {
    struct http *h = xcalloc(1, sizeof *h);
    h->o = o;
    h->daemon = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, on_completed, h,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_CONNECTION_LIMIT,
        o->max_connections, MHD_OPTION_CONNECTION_TIMEOUT, o->idle_seconds,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY, MHD_OPTION_STRICT_FOR_CLIENT,
        1, MHD_OPTION_END);
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
    atomic_store(&h->draining, true);
    for (unsigned i = 0; i < 10 * grace && atomic_load(&h->n_threads) > 0; i++)
        nanosleep(&tenth, NULL);
    atomic_store(&h->stopping, true);
    while (atomic_load(&h->n_threads) > 0)
        nanosleep(&tenth, NULL);
    MHD_stop_daemon(h->daemon);
    if (fd >= 0)
        close(fd);
    free(h);
}
