/* Reading components of tokenizer.json: see component.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/component.h"

#include "base/utf8.h"

/* A second reader at the same place, with errors of its own. */
static struct json look_ahead(const struct json *j, struct err *e) {
    struct json look = *j;
    look.strings = (struct arena){0};
    look.e = e;
    return look;
}

struct str component_type(struct json *j) {
    struct err e = {0};
    struct json look = look_ahead(j, &e);
    struct str key, type = {"", 0};
    if (json_peek(&look) == JSON_OBJECT && json_enter_object(&look))
        while (!type.n && json_key(&look, &key)) { // "type" comes first, and a model is long
            if (str_eq(key, "type") && json_peek(&look) == JSON_STRING) {
                type = json_str(&look);
                type = arena_str(&j->strings, type.p, type.n);
            } else {
                json_skip(&look);
            }
        }
    json_free(&look);
    return type;
}

unsigned component_members(struct json *j, const char *const *names, unsigned n, const char *stop) {
    struct err e = {0};
    struct json look = look_ahead(j, &e);
    struct str key;
    unsigned found = 0;
    if (json_peek(&look) == JSON_OBJECT && json_enter_object(&look))
        while (!(found & 1) && json_key(&look, &key) && !(stop && str_eq(key, stop))) {
            for (unsigned i = 0; i < n; i++)
                found |= (unsigned)str_eq(key, names[i]) << i;
            if (!(found & 1))
                json_skip(&look);
        }
    json_free(&look);
    return found;
}

void component_need(struct json *j, bool found, const char *type, const char *member) {
    if (!found)
        json_refuse(j, "%s has no \"%s\"", type, member);
}

void component_limit(struct json *j, size_t n) {
    if (n >= COMPONENT_MAX)
        json_refuse(j, "more than %d steps", COMPONENT_MAX);
}

uint32_t component_char(struct json *j) {
    struct str s = json_str(j);
    uint32_t cp = 0;
    if (!json_failed(j) && (s.n == 0 || utf8_decode(s.p, s.n, &cp) != s.n))
        json_refuse(j, "expected one character, found \"%.*s\"", (int)(s.n > 40 ? 40 : s.n), s.p);
    return cp;
}
