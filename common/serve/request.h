/* What the head of a request says: its path, who asks, and with which key. Private to common/serve.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include "serve/exchange.h"

/* The route of x->path and x->method, with x->rest set. NULL: none; x->allow is set where the path
 * has other methods. */
const struct route *request_route(struct exchange *x);

/* A path without "/v1" at its beginning: clients of llama-server leave that out. */
const char *request_after_v1(const char *path);

/* The value of a header, or NULL; it lives as long as the request. */
const char *request_header(const struct exchange *x, const char *name);

/* Whether the request is from a page of the site that --origin names. */
bool request_from_allowed_site(const struct exchange *x);

/* Whether a page of another site has made the browser ask: its Host is not ours, or its Origin. */
bool request_is_foreign(struct exchange *x);

/* Whether a proxy could see another end of the request, or another host (RFC 9112, section 6.3). */
bool request_is_ambiguous(struct exchange *x);

/* Sets x->key and x->has_key from "Authorization: Bearer KEY" or "x-api-key: KEY". */
void request_find_key(struct exchange *x);

#endif
