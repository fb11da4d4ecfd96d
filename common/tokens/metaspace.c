/* Loading the parameters of Metaspace: see metaspace.h. Older files have add_prefix_space instead
 * of prepend_scheme.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/metaspace.h"

#include "base/utf8.h"
#include "tokens/component.h"

static enum metaspace_scheme scheme_load(struct json *j) {
    static const char *const names[] = {"always", "first", "never"};
    struct str s = json_str(j);
    for (int i = 0; i < 3; i++)
        if (str_eq(s, names[i]))
            return (enum metaspace_scheme)i;
    json_refuse(j, "unknown prepend_scheme \"%.*s\"", (int)s.n, s.p);
    return METASPACE_ALWAYS;
}

struct metaspace *metaspace_load(struct json *j) {
    struct metaspace *m = xcalloc(1, sizeof *m);
    struct str key;
    bool no_prefix = false;
    m->split = true;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "replacement"))
            m->mark_n = utf8_encode(component_char(j), m->mark);
        else if (str_eq(key, "prepend_scheme"))
            m->scheme = scheme_load(j);
        else if (str_eq(key, "add_prefix_space") && json_peek(j) != JSON_NULL)
            no_prefix = !json_bool(j);
        else if (str_eq(key, "split") && json_peek(j) != JSON_NULL)
            m->split = json_bool(j);
        else
            json_skip(j);
    component_need(j, m->mark_n, "Metaspace", "replacement");
    if (no_prefix)
        m->scheme = METASPACE_NEVER;
    return m;
}
