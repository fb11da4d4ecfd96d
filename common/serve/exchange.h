/* A request and its answer: what the thread of connections (http.c) and the thread that makes the
 * answer (routes.c) share. Private to common/serve.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_EXCHANGE_H
#define SERVE_EXCHANGE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "serve/body.h"
#include "serve/http.h"

struct http {
    const struct http_options *o;
    struct MHD_Daemon *daemon;
    atomic_bool stopping;
    // For /metrics.
    atomic_size_t n_answers; // that are being made
    atomic_ullong n_requests, n_refused, n_left, prompt_tokens, completion_tokens;
};

struct exchange {
    struct http *h;
    struct MHD_Connection *connection;
    const struct route *route; // NULL: no such path
    const char *rest;          // of the path, after the route's
    struct buf path, body;
    bool body_too_long, started;
    int socket; // a copy of the connection's, to see whether the client has left; -1: none

    pthread_mutex_t lock; // of what follows
    unsigned refs;        // the connection's, and the answer's thread's
    unsigned status;      // 0: the answer is not ready
    bool streams;         // the reply is sent as it grows, until ended
    bool ended, suspended, gone;
    struct buf reply;
    size_t sent;
};

/* A path that the server knows. */
struct route {
    const char *method, *path;
    bool prefix;  // the path may go on
    bool answers; // runs on a thread of its own
    /* Makes the answer with the functions below. */
    void (*serve)(struct exchange *x);
};

extern const struct route routes[]; // ends with a NULL path

/* The whole answer, for the thread of the answer. Takes what is in reply. */
void exchange_reply(struct exchange *x, unsigned status, struct buf *reply);
void exchange_refuse(struct exchange *x, unsigned status, const char *message, const char *field);
/* Parts of an answer that streams; the first one decides on status 200. */
void exchange_add(struct exchange *x, struct str part);
void exchange_end(struct exchange *x);
/* Whether the client has left, or the server stops. */
bool exchange_left(void *x);

#endif
