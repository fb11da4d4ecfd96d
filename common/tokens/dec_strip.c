/* Strip: takes up to `start` of a character off the beginning of each token and up to `stop` off
 * its end.
 *
 * Behind Fuse the token is the whole text, which comes in parts: characters at its end are kept
 * back as long as they could be stripped. A sequence that continues another has its beginning
 * there, not here.
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

/* How many of the content's characters end t, at most `stop`. */
static size_t at_end(const struct strip *s, struct str t) {
    size_t n = 0;
    while (n < s->stop && t.n >= s->content_n &&
           memcmp(t.p + t.n - s->content_n, s->content, s->content_n) == 0) {
        t.n -= s->content_n;
        n++;
    }
    return n;
}

/* state.kept: how many were taken off the beginning, SIZE_MAX when something else has come. */
static void token(const void *data, struct dec_run *run, size_t stage, struct str token,
                  bool more) {
    const struct strip *s = data;
    struct dec_state *st = &run->states[stage];
    if (!st->inside) {
        st->kept = (more && st->continues) ? SIZE_MAX : 0;
        buf_clear(&st->bytes);
    }
    while (token.n && st->kept < s->start && begins(s, token)) {
        token.p += s->content_n;
        token.n -= s->content_n;
        st->kept++;
    }
    if (token.n)
        st->kept = SIZE_MAX;
    buf_add(&st->bytes, token.p, token.n);
    struct str have = buf_view(&st->bytes);
    size_t back = at_end(s, have) * s->content_n;
    dec_next(run, stage, (struct str){have.p, have.n - back}, more);
    if (have.n > back)
        memmove(st->bytes.p, st->bytes.p + have.n - back, back);
    st->bytes.n = back;
}

const struct dec_kind dec_strip = {"Strip", load, free, true, token, NULL};
