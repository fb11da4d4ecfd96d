/* ByteFallback: a run of tokens like <0xE2> spells bytes.
 *
 * If the bytes of the run are UTF-8 as a whole, they are the text. Otherwise each becomes U+FFFD.
 * So nothing of a run is certain before it ends.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/num.h"
#include "base/utf8.h"
#include "tokens/dec.h"

/* "<0xNN>", with a sign in place of the first digit as the reference's number parser allows. */
int dec_fallback_byte(struct str t) {
    if (t.n != 6 || memcmp(t.p, "<0x", 3) != 0 || t.p[5] != '>')
        return -1;
    int high = t.p[3] == '+' ? 0 : num_hex_digit(t.p[3]), low = num_hex_digit(t.p[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static void flush(struct dec_run *run, size_t stage) {
    struct dec_state *s = &run->states[stage];
    if (s->bytes.n == 0)
        return;
    if (utf8_valid(s->bytes.p, s->bytes.n) == s->bytes.n)
        dec_next(run, stage, buf_view(&s->bytes), false);
    else
        for (size_t i = 0; i < s->bytes.n; i++)
            dec_next(run, stage, str_of("\xEF\xBF\xBD"), false);
    buf_clear(&s->bytes);
}

static void token(const void *data, struct dec_run *run, size_t stage, struct str token,
                  bool more) {
    (void)data;
    (void)more;
    int byte = dec_fallback_byte(token);
    if (byte >= 0) {
        buf_byte(&run->states[stage].bytes, byte);
        return;
    }
    flush(run, stage);
    dec_next(run, stage, token, false);
}

static void end(const void *data, struct dec_run *run, size_t stage) {
    (void)data;
    flush(run, stage);
}

const struct dec_kind dec_byte_fallback = {"ByteFallback", NULL, NULL, false, token, end};
