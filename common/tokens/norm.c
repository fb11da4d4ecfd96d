/* The list of normalizers and its loader: see norm.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/norm.h"

#include <assert.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "tokens/component.h"

static const struct tok_norm_kind *const kinds[] = {
    &norm_bert,    &norm_byte_level, &norm_lowercase,     &norm_nfc,         &norm_nfd,
    &norm_nfkc,    &norm_nfkd,       &norm_nmt,           &norm_precompiled, &norm_prepend,
    &norm_replace, &norm_strip,      &norm_strip_accents,
};

static void add(struct norms *n, const struct tok_norm_kind *kind, struct json *j) {
    n->steps = xreallocarray(n->steps, n->n + 1, sizeof *n->steps);
    n->steps[n->n++] = (struct tok_norm){kind, kind->load ? kind->load(j) : (json_skip(j), NULL)};
}

static void load_sequence(struct norms *n, struct json *j) {
    struct str key;
    bool found = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "normalizers")) {
            found = true;
            json_enter_array(j);
            while (json_item(j))
                norms_load(n, j);
        } else {
            json_skip(j);
        }
    component_need(j, found, "Sequence", "normalizers");
}

void norms_load(struct norms *n, struct json *j) {
    if (json_peek(j) == JSON_NULL) {
        json_null(j);
        return;
    }
    struct str type = component_type(j);
    component_limit(j, n->n);
    if (str_eq(type, "Bert"))
        type = str_of("BertNormalizer");
    if (str_eq(type, "Sequence")) {
        load_sequence(n, j);
        return;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_eq(type, kinds[i]->type)) {
            add(n, kinds[i], j);
            return;
        }
    json_refuse(j, "unknown normalizer \"%.*s\"", (int)type.n, type.p);
}

void norms_free(struct norms *n) {
    for (size_t i = 0; i < n->n; i++)
        if (n->steps[i].kind->unload)
            n->steps[i].kind->unload(n->steps[i].data);
    free(n->steps);
}

int norms_apply(const struct norms *n, struct tok_text *t, struct err *e) {
    size_t before = t->now.n;
    for (size_t i = 0; i < n->n; i++) {
        if (n->steps[i].kind->apply(n->steps[i].data, t, e) != 0)
            return -1;
        if (t->too_long)
            return err_set(e, EXIT_DATA, "the normalizers make more than %zu bytes of %zu", t->most,
                           before);
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
        assert(utf8_valid(t->now.p, t->now.n) == t->now.n); // all later steps rely on it
#endif
    }
    return 0;
}
