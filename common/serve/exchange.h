/* A request and its answer: what the thread of connections (http.c) and the thread that makes the
 * answer (routes.c, answer.c) share. Private to common/serve.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_EXCHANGE_H
#define SERVE_EXCHANGE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "serve/body.h"
#include "serve/generate.h"
#include "serve/http.h"

struct http {
    const struct http_options *o;
    struct MHD_Daemon *daemon;
    atomic_bool draining;     // new answers are refused
    atomic_bool stopping;     // answers are cut
    atomic_size_t n_answers;  // that are being made
    atomic_size_t n_threads;  // that make them
    atomic_size_t body_bytes; // of requests, in memory
    atomic_size_t held_bytes; // of answers that wait for their end, or for their clients
    size_t n_connections;     // and the most since memory was given back: of the thread for all
    size_t most_connections;
    // For /metrics.
    atomic_ullong n_requests, n_refused, n_left, prompt_tokens, completion_tokens, cached_tokens;
};

struct exchange {
    struct http *h;
    struct MHD_Connection *connection;
    const struct route *route; // NULL: no such path
    const char *rest;          // of the path, after the route's
    struct buf path, body;
    char method[16];
    struct api_key *key; // NULL: none
    bool key_runs;       // the key counts this request
    bool counted;        // n_answers counts it
    bool has_key;        // the key is known, or none is needed
    bool body_too_long, no_room, started;
    bool closes;    // the connection, after the answer
    bool explain;   // X-Tokpipe-Cache: explain
    int socket;     // a copy of the connection's, to see whether the client has left; -1: none
    unsigned retry; // seconds of Retry-After; 0: none
    const char *security; // Content-Security-Policy of the answer; NULL: none
    const char *allow;    // methods of the path, for 405 and OPTIONS; NULL: not said

    // Of the answer, for the log.
    double began; // seconds, of a steady clock
    char id[40];
    const struct served *model; // of an answer: held
    const struct served *held;  // the model that exchange_model found, until the exchange ends
    struct generate_result sum;
    bool left;

    pthread_mutex_t lock; // of what follows
    unsigned refs;        // the connection's, and the answer's thread's
    unsigned status;      // 0: the answer is not ready
    bool streams;         // the reply is sent as it grows, until ended
    bool ended, suspended, gone;
    struct buf reply;
    size_t sent;
};

enum route_flags {
    ROUTE_PREFIX = 1,  // the path may go on
    ROUTE_ANSWERS = 2, // runs on a thread of its own
    ROUTE_OPEN = 4,    // needs no key
    ROUTE_OPENS = 8    // may open a model: on a thread of its own, which no limit counts
};

/* A path that the server knows. */
struct route {
    const char *method, *path;
    unsigned flags;
    const char *type; // of a whole answer
    /* Makes the answer with the functions below. */
    void (*serve)(struct exchange *x);
};

extern const struct route routes[]; // ends with a NULL path

double exchange_now(void); // seconds, of a steady clock

/* Ends one thread's use of x, and frees it, with a line in the log, when the other has ended its
 * own. */
void exchange_drop(struct exchange *x);

/* The whole answer, for the thread of the answer. Takes what is in reply. */
void exchange_reply(struct exchange *x, unsigned status, struct buf *reply);
void exchange_refuse(struct exchange *x, unsigned status, const char *message, const char *field);
/* With a code of OpenAI's API, for programs. NULL: the status' own. */
void exchange_refuse_code(struct exchange *x, unsigned status, const char *message,
                          const char *field, const char *code);
/* Parts of an answer that streams; the first one decides on status 200. */
void exchange_add(struct exchange *x, struct str part);
void exchange_end(struct exchange *x);
/* Counts n more bytes of an answer that has `held` already, all in memory. -1: too many, and e says
 * of whom. exchange_release ends the count. Streams count what waits for the client themselves. */
int exchange_hold(struct exchange *x, size_t held, size_t n, struct err *e);
void exchange_release(struct exchange *x, size_t n);
/* Whether n more bytes of a stream may wait; e as above. */
int exchange_has_room(struct exchange *x, size_t n, struct err *e);
/* Whether the client has left, or the server stops. */
bool exchange_left(void *x);

/* The answer's id and model; what it used, for the log, the metrics and the key. */
void exchange_name(struct exchange *x, const char *id, const struct served *m);
void exchange_count(struct exchange *x, const struct generate_result *sum);

/* The model of this name that can one of these (enum served_can); NULL name, or a name that is not
 * known with --any-model: the first that can. NULL: the request was refused. */
const struct served *exchange_model(struct exchange *x, const char *name, unsigned can);

/* The status of HTTP for an error of ours. */
unsigned exchange_status(const struct err *e);

#endif
