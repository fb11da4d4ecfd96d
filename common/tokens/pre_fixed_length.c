/* FixedLength: words of a fixed number of characters. The last word may be shorter.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/component.h"
#include "tokens/pre.h"
#include "unicode/unicode.h"

static void *load(struct json *j) {
    uint64_t *length = xcalloc(1, sizeof *length);
    struct str key;
    *length = 5;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "length"))
            *length = json_u64(j);
        else
            json_skip(j);
    if (*length == 0)
        json_refuse(j, "FixedLength has a length of 0");
    return length;
}

static int split(const void *data, struct pre_run *run, size_t step, const struct tok_piece *p) {
    const uint64_t *length = data;
    for (size_t from = 0, i; from < p->n; from = i) {
        i = from;
        for (uint64_t k = 0; k < *length && i < p->n; k++)
            i += uni_len(p->p[i]);
        struct tok_piece word = tok_piece_cut(p, from, i);
        if (pre_next(run, step, &word) != 0)
            return -1;
    }
    return 0;
}

const struct pre_kind pre_fixed_length = {"FixedLength", load, free, split};
