/* Regular expressions of a tokenizer.json: a pattern, a newline and a text.
 *
 * Matches must be in order and begin and end between characters, and the budget must end any search
 * soon: libFuzzer's -timeout sees to that.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "unicode/regex.h"
#include "unicode/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_matches(struct regex_iter *it, struct str text) {
    size_t start, end, last = 0;
    struct err e = {0};
    int found;
    while ((found = regex_next(it, &start, &end, &e)) > 0) {
        if (start > end || end > text.n || end < last)
            abort();
        if ((start < text.n && uni_inside(text.p[start])) ||
            (end < text.n && uni_inside(text.p[end])))
            abort();
        last = end;
    }
    if (found < 0 && (e.code != EXIT_DATA || !e.msg[0]))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    size_t n = end ? (size_t)(end - data) : size;
    struct err e = {0};
    struct regex *r = regex_compile((struct str){(const char *)data, n}, &e);
    if (!r) {
        if (e.code != EXIT_DATA || !e.msg[0])
            abort();
        return 0;
    }
    struct buf text = {0};
    if (end)
        utf8_repair(&text, (const char *)end + 1, size - n - 1);
    struct str s = {text.p ? text.p : "", text.n};
    struct regex_work *w = regex_work_new();
    regex_work_begin(w, s.n);
    struct regex_iter it = regex_begin(r, w, s);
    check_matches(&it, s);
    regex_work_free(w);
    regex_free(r);
    buf_free(&text);
    return 0;
}
