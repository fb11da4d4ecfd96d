/* Fuzz entry: a message between a resident llm-forward and a client. What is accepted must be
 * written as the same bytes, but for a text's length, which the writer may cut.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "wire/control.h"

static void check_text(struct str s, struct str whole) {
    assert(s.n <= CONTROL_MAX_TEXT && (s.n == 0 || !memchr(s.p, 0, s.n)));
    assert(s.n == 0 || (s.p >= whole.p && s.p + s.n <= whole.p + whole.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str whole = fuzz_exact((struct str){(const char *)data, size});
    struct control c;
    struct err e = {0};
    if (control_get(&c, (const uint8_t *)whole.p, whole.n, &e) != 0) {
        fuzz_check_refusal(&e);
    } else {
        struct buf again = {0};
        struct control back;
        check_text(c.device, whole);
        check_text(c.layers, whole);
        check_text(c.in_name, whole);
        check_text(c.text, whole);
        assert(c.type != CONTROL_ASK || (c.batch > 0 && memchr(c.address, 0, sizeof c.address)));
        assert(control_put(&again, &c, &e) == 0 && again.n == whole.n);
        assert(control_get(&back, (const uint8_t *)again.p, again.n, &e) == 0);
        assert(back.type == c.type && back.flags == c.flags && back.batch == c.batch &&
               back.context == c.context && back.code == c.code && back.left == c.left &&
               str_same(back.text, c.text) && str_same(back.layers, c.layers) &&
               str_same(back.device, c.device) && str_same(back.in_name, c.in_name));
        buf_free(&again);
    }
    free((char *)whole.p);
    return 0;
}
