/* Loading the parameters of Replace: see replace.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/replace.h"

#include <stdlib.h>

#include "tokens/component.h"

struct replace *replace_load(struct json *j) {
    struct replace *r = xcalloc(1, sizeof *r);
    struct str key;
    bool content = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "pattern")) {
            regex_free(r->pattern);
            r->pattern = regex_load(j);
        } else if (str_eq(key, "content")) {
            struct str s = json_str(j);
            buf_clear(&r->content);
            buf_add(&r->content, s.p, s.n);
            content = true;
        } else {
            json_skip(j);
        }
    component_need(j, r->pattern, "Replace", "pattern");
    component_need(j, content, "Replace", "content");
    return r;
}

void replace_free(struct replace *r) {
    if (!r)
        return;
    regex_free(r->pattern);
    buf_free(&r->content);
    free(r);
}
