/* The HTTP side of a server: libmicrohttpd, one thread for all connections, and a thread for each
 * answer that is being made.
 *
 *     GET  /, /openapi.json, /health, /metrics, /v1/models, /v1/models/NAME, /tokenizer_info
 *     POST /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages,
 *          /v1/messages/count_tokens, /v1/embeddings, /tokenize, /detokenize
 *
 * "/v1" may be left out. A client that leaves ends its answer at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "serve/access_log.h"
#include "serve/api_keys.h"
#include "serve/models.h"

struct http_options {
    struct models *models; // requests without a name get the first
    size_t max_answers;    // at the same time; one more gets 429
    size_t max_body;       // bytes of a request; all together take at most eight times this. What
                           // is in memory of an answer: 4 times, and of all of them 32 times
    unsigned max_connections, idle_seconds;
    bool any_host;          // else requests must be for localhost, which stops DNS rebinding
    bool any_model;         // a model's name that is not known means the first
    const char *origin;     // of the pages of another site that may ask; NULL: none
    const char *record;     // a folder for the line of each request; NULL: none
    struct api_keys *keys;  // NULL: no key is needed
    struct access_log *log; // NULL: none
};

struct http;

/* Serves on fd, a listening socket, which it closes. NULL with e set (EXIT_SYSTEM). o outlives it.
 */
struct http *http_start(int fd, const struct http_options *o, struct err *e);

/* Accepts no more connections, refuses more requests, waits up to `grace` seconds for answers to
 * end, cuts the others, and frees h. */
void http_stop(struct http *h, unsigned grace);

#endif
