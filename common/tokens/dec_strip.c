/* Strip: removes up to `start` copies of a character from the beginning of each token, and up to
 * `stop` copies from its end.
 *
 * After Fuse the token is the whole text, which comes in parts. Characters at its end are then held
 * back as long as they could be stripped. If a sequence continues another, the beginning of the
 * text is not here, so nothing is stripped at it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "base/utf8.h"
#include "tokens/component.h"
#include "tokens/dec.h"

struct strip {
    char content[4];
    size_t content_n;
    size_t start, stop;
};

static void *load(struct json *j) {
    struct strip *s = xcalloc(1, sizeof *s);
    struct str key;
    bool start = false, stop = false;
    json_enter_object(j);
    while (json_key(j, &key))
        if (str_eq(key, "content")) {
            s->content_n = utf8_encode(component_char(j), s->content);
        } else if (str_eq(key, "start")) {
            s->start = (size_t)json_u64(j);
            start = true;
        } else if (str_eq(key, "stop")) {
            s->stop = (size_t)json_u64(j);
            stop = true;
        } else {
            json_skip(j);
        }
    component_need(j, s->content_n, "Strip", "content");
    component_need(j, start, "Strip", "start");
    component_need(j, stop, "Strip", "stop");
    return s;
}

static bool begins(const struct strip *s, struct str t) {
    return t.n >= s->content_n && memcmp(t.p, s->content, s->content_n) == 0;
}

/* Counts the copies of the character at the end of t, at most `stop`. */
static size_t at_end(const struct strip *s, struct str t) {
    size_t n = 0;
    while (n < s->stop && t.n >= s->content_n &&
           memcmp(t.p + t.n - s->content_n, s->content, s->content_n) == 0) {
        t.n -= s->content_n;
        n++;
    }
    return n;
}

/* state.own counts the copies removed at the beginning. It is SIZE_MAX after any other
 * character. */
static void token(const void *data, struct dec_run *run, size_t stage, struct str token,
                  bool more) {
    const struct strip *s = data;
    struct dec_state *st = &run->states[stage];
    if (!st->inside) {
        st->own = (more && st->continues) ? SIZE_MAX : 0;
        buf_clear(&st->bytes);
    }
    while (token.n && st->own < s->start && begins(s, token)) {
        token.p += s->content_n;
        token.n -= s->content_n;
        st->own++;
    }
    if (token.n)
        st->own = SIZE_MAX;
    buf_add(&st->bytes, token.p, token.n);
    struct str have = buf_view(&st->bytes);
    size_t back = at_end(s, have) * s->content_n;
    dec_next(run, stage, (struct str){have.p, have.n - back}, more);
    if (have.n > back)
        memmove(st->bytes.p, st->bytes.p + have.n - back, back);
    st->bytes.n = back;
}

const struct dec_kind dec_strip = {"Strip", load, free, true, token, NULL};
