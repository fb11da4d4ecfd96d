/* Metaspace as a decoder: the mark "▁" becomes a space again. In the first token it is dropped,
 * unless the scheme adds none there.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "tokens/dec.h"
#include "tokens/metaspace.h"
#include "unicode/unicode.h"

static void *load(struct json *j) {
    return metaspace_load(j);
}

static void token(const void *data, struct dec_run *run, size_t stage, struct str token,
                  bool more) {
    const struct metaspace *m = data;
    struct dec_state *s = &run->states[stage];
    bool drop = s->count == 0 && m->scheme != METASPACE_NEVER;
    buf_clear(&s->work);
    for (size_t i = 0, len; i < token.n; i += len) {
        len = uni_len(token.p[i]);
        if (len != m->mark_n || memcmp(token.p + i, m->mark, len) != 0)
            buf_add(&s->work, token.p + i, len);
        else if (!drop)
            buf_byte(&s->work, ' ');
    }
    dec_next(run, stage, buf_view(&s->work), more);
}

const struct dec_kind dec_metaspace = {"Metaspace", load, free, false, token, NULL};
