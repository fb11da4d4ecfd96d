/* ByteLevel: tokens are spelled in the byte alphabet (bytechars.h), and their bytes together are
 * the text.
 *
 * A token with a character outside the alphabet gives its own bytes. Bytes that are not UTF-8
 * become U+FFFD. The beginning of a character is held back until the rest arrives.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/utf8.h"
#include "tokens/bytechars.h"
#include "tokens/dec.h"
#include "unicode/unicode.h"

/* Passes on the bytes that are certain: all but the beginning of a character that later bytes may
 * complete. */
static void flush(struct dec_run *run, size_t stage, bool end) {
    struct dec_state *s = &run->states[stage];
    size_t sure = 0;
    bool cut = false;
    while (sure < s->bytes.n) {
        sure += utf8_valid(s->bytes.p + sure, s->bytes.n - sure);
        if (sure == s->bytes.n)
            break;
        size_t bad = utf8_bad(s->bytes.p + sure, s->bytes.n - sure, &cut);
        if (cut && !end)
            break;
        sure += bad;
    }
    buf_clear(&s->work);
    utf8_repair(&s->work, s->bytes.p, sure);
    dec_next(run, stage, buf_view(&s->work), !end);
    s->bytes.n -= sure;
    if (s->bytes.n)
        memmove(s->bytes.p, s->bytes.p + sure, s->bytes.n);
}

static void token(const void *data, struct dec_run *run, size_t stage, struct str token,
                  bool more) {
    (void)data;
    (void)more;
    struct dec_state *s = &run->states[stage];
    buf_reserve(&s->bytes, token.n);
    long n = bytechars_decode(token, s->bytes.p + s->bytes.n);
    if (n >= 0)
        s->bytes.n += (size_t)n;
    else
        buf_add(&s->bytes, token.p, token.n);
    flush(run, stage, false);
}

static void end(const void *data, struct dec_run *run, size_t stage) {
    (void)data;
    flush(run, stage, true);
}

const struct dec_kind dec_byte_level = {"ByteLevel", NULL, NULL, false, token, end};
