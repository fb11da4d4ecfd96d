/* Fuzzes wire/tokens. A stream that is accepted is written again; reading that must give the same
 * stream.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "../lib/fuzzfd.h"
#include "base/attrs.h"
#include "wire/tokens.h"

/* Reads a stream and writes it to out in our own form. Returns -1 if it is refused. */
static int rewrite(const uint8_t *data, size_t size, struct buf *out) {
    struct tokens_reader *r = tokens_reader_new(fuzz_fd(data, size), "fuzz");
    struct tokens_event ev;
    struct err e = {0};
    char *bytes = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&bytes, &n);
    bool first = true, header = true;
    int rc;
    while ((rc = tokens_next(r, &ev, &e)) == 0 && ev.type != TOKENS_EOF) {
        if (ev.type == TOKENS_ATTRS && ev.text.n == 0)
            continue; // is written as nothing, so that a second reading sees no event
        if (header)
            tokens_write_header(f, tokens_header(r));
        header = false;
        if (ev.type == TOKENS_ID)
            tokens_write_id(f, ev.id, first);
        else if (ev.type == TOKENS_END)
            tokens_write_end(f);
        else if (ev.type == TOKENS_ATTRS)
            tokens_write_attrs(f, ev.text);
        else if (ev.type == TOKENS_RESULT)
            tokens_write_result(f, ev.text);
        else
            tokens_write_failed(f, ev.text);
        first = ev.type != TOKENS_ID;
        tokens_pending(r);
    }
    if (header) // no event came after it
        tokens_write_header(f, tokens_header(r));
    if (rc != 0 && (e.code != EXIT_DATA || !e.msg[0]))
        abort();
    fclose(f);
    buf_add(out, bytes, n);
    free(bytes);
    tokens_reader_free(r);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct buf once = {0}, twice = {0}, value = {0}, attrs = {0};
    if (rewrite(data, size, &once) == 0) {
        if (rewrite((const uint8_t *)once.p, once.n, &twice) != 0)
            abort();
        if (once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0)
            abort();
    }
    /* Any value passes through an attribute unchanged. */
    struct str s = {(const char *)data, size};
    attrs_set(&attrs, "key", s);
    if (!attrs_get(buf_view(&attrs), "key", &value) || value.n != size ||
        (size && memcmp(value.p, data, size) != 0))
        abort();
    attrs_get(s, "a", &value);
    buf_free(&once);
    buf_free(&twice);
    buf_free(&value);
    buf_free(&attrs);
    return 0;
}
