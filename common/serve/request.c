/* See request.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "serve/request.h"

#include <string.h>
#include <strings.h>

const char *request_after_v1(const char *path) {
    return strncmp(path, "/v1/", 4) == 0 ? path + 3 : path;
}

/* HEAD is GET without the body, which libmicrohttpd leaves out. */
const struct route *request_route(struct exchange *x) {
    const char *path = request_after_v1(x->path.p ? x->path.p : "");
    const char *method = strcmp(x->method, "HEAD") == 0 ? "GET" : x->method;
    for (const struct route *r = routes; r->path; r++) {
        const char *known = request_after_v1(r->path);
        size_t n = strlen(known);
        if (strncmp(path, known, n) != 0 || (path[n] && !(r->flags & ROUTE_PREFIX)))
            continue;
        if (known == r->path && path != x->path.p) // only the paths of APIs begin with /v1
            continue;
        x->allow = strcmp(r->method, "GET") == 0 ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
        if (strcmp(method, r->method) != 0)
            return NULL;
        x->rest = path + n;
        return r;
    }
    return NULL;
}

const char *request_header(const struct exchange *x, const char *name) {
    return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

bool request_from_allowed_site(const struct exchange *x) {
    const char *origin = request_header(x, "Origin");
    return origin && x->h->o->origin && strcmp(origin, x->h->o->origin) == 0;
}

bool request_is_foreign(struct exchange *x) {
    static const char *const ours[] = {"localhost", "127.0.0.1", "[::1]"};
    const char *host = request_header(x, "Host"), *origin = request_header(x, "Origin");
    bool known = x->h->o->any_host || !host;
    for (size_t i = 0; i < sizeof ours / sizeof *ours && !known; i++) {
        size_t n = strlen(ours[i]);
        known = strncmp(host, ours[i], n) == 0 && (host[n] == '\0' || host[n] == ':');
    }
    if (!known)
        return true;
    if (request_from_allowed_site(x))
        return false;
    const char *site = origin ? strstr(origin, "://") : NULL;
    return origin && (!site || !host || strcmp(site + 3, host) != 0);
}

struct header_counts {
    unsigned hosts, lengths, encodings;
};

static enum MHD_Result count_header(void *ctx, enum MHD_ValueKind kind, const char *name,
                                    const char *value) {
    struct header_counts *n = ctx;
    (void)kind;
    (void)value;
    n->hosts += strcasecmp(name, "Host") == 0;
    n->lengths += strcasecmp(name, "Content-Length") == 0;
    n->encodings += strcasecmp(name, "Transfer-Encoding") == 0;
    return MHD_YES;
}

bool request_is_ambiguous(struct exchange *x) {
    struct header_counts n = {0};
    MHD_get_connection_values(x->connection, MHD_HEADER_KIND, count_header, &n);
    return n.hosts > 1 || n.lengths + n.encodings > 1;
}

/* Anthropic's clients send x-api-key. */
void request_find_key(struct exchange *x) {
    static const char bearer[] = "Bearer ";
    const char *key = request_header(x, "x-api-key"), *said = request_header(x, "Authorization");
    if (said && strncasecmp(said, bearer, sizeof bearer - 1) == 0)
        key = said + sizeof bearer - 1;
    if (key && x->h->o->keys)
        x->key = api_keys_find(x->h->o->keys, str_of(key));
    x->has_key = x->key || !x->h->o->keys;
}
