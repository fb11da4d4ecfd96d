/* Replace as a decoder: in each token, every match of a string or a regular expression becomes a
 * fixed text. After a failure (see dec.h) tokens pass as they are.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/dec.h"
#include "tokens/replace.h"

static void *load(struct json *j) {
    return replace_load(j);
}

static void unload(void *data) {
    replace_free(data);
}

static void token(const void *data, struct dec_run *run, size_t stage, struct str token,
                  bool more) {
    const struct replace *r = data;
    struct buf *work = &run->states[stage].work;
    struct regex_iter it = regex_begin(r->pattern, run->regex, token);
    size_t from = 0, start, end;
    buf_clear(work);
    while (token.n && !run->failed.code && regex_next(&it, &start, &end, &run->failed) > 0) {
        if (r->content.n > run->room) {
            err_set(&run->failed, EXIT_DATA, "the decoders make too much text of the ids");
            break;
        }
        run->room -= r->content.n;
        buf_add(work, token.p + from, start - from);
        buf_add(work, r->content.p, r->content.n);
        from = end;
    }
    buf_add(work, token.p + from, token.n - from);
    dec_next(run, stage, buf_view(work), more);
}

const struct dec_kind dec_replace = {"Replace", load, unload, false, token, NULL};
