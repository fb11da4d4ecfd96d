/* Fuzz entry: a pattern of tokenizer.json, a byte 0 and a text. Matches must be in order, inside
 * the text, and on borders of characters.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "../lib/fuzz.h"
#include "unicode/regex.h"
#include "unicode/unicode.h"

enum { MOST_MATCHES = 10000 };

static void match(const struct regex *r, struct str text) {
    struct regex_work *w = regex_work_new();
    regex_work_begin(w, text.n);
    struct regex_iter it = regex_begin(r, w, text);
    struct err e = {0};
    size_t start = 0, end = 0, last = 0, n = 0;
    int rc = 0;
    while (n++ < MOST_MATCHES && (rc = regex_next(&it, &start, &end, &e)) == 1) {
        assert(last <= start && start <= end && end <= text.n);
        assert(start == text.n || !uni_inside(text.p[start]));
        assert(end == text.n || !uni_inside(text.p[end]));
        last = end;
    }
    if (rc < 0)
        fuzz_check_refusal(&e);
    regex_work_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_parts in = fuzz_split(data, size);
    struct err e = {0};
    struct str pattern = fuzz_exact(in.first);
    // regex_new may put a hand-written matcher in the pattern's place.
    struct regex *r = size & 1 ? regex_new(pattern, &e) : regex_compile(pattern, &e);
    free((char *)pattern.p);
    if (!r) {
        assert(e.code == EXIT_DATA && e.msg[0]);
        return 0;
    }
    struct buf text = {0};
    if (in.split)
        utf8_repair(&text, in.rest.p, in.rest.n);
    else
        buf_str(&text, "Hello w\xc3\xb6rld 123\n\n x");
    struct str exact = fuzz_exact(buf_view(&text));
    match(r, exact);
    free((char *)exact.p);
    buf_free(&text);
    regex_free(r);
    return 0;
}
