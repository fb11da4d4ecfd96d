/* Fuzz entry: stop texts. The first line is an attribute's value, the rest a text. The search gives
 * the same for the whole text as for its bytes one by one, and texts are written as they are read.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>

#include "sample/stop_texts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_written(const struct stop_texts *s) {
    struct buf once = {0}, twice = {0};
    struct stop_texts again = {0};
    struct err e = {0};
    stop_texts_write(s, &once);
    if (stop_texts_parse(&again, buf_view(&once), &e) != 0 || again.n != s->n)
        abort();
    stop_texts_write(&again, &twice);
    if (once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0)
        abort();
    buf_free(&once);
    buf_free(&twice);
    stop_texts_free(&again);
}

static void check_search(const struct stop_texts *s, const char *text, size_t n) {
    struct stop_search whole = {.texts = s}, bytes = {.texts = s};
    size_t used, held, used_one, held_one = 0, at = 0;
    bool found = stop_search_take(&whole, text, n, &used, &held), complete = false;
    for (; at < n && !complete; at++)
        complete = stop_search_take(&bytes, text + at, 1, &used_one, &held_one);
    if (complete != found || at != used || held_one != held || held > used)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *p = (const char *)data, *line = size ? memchr(p, '\n', size) : NULL;
    size_t n = line ? (size_t)(line - p) : size;
    struct stop_texts s = {0};
    struct err e = {0};
    if (stop_texts_parse(&s, (struct str){p, n}, &e) == 0) {
        check_written(&s);
        check_search(&s, p + n, size - n);
    } else if (e.code != EXIT_USAGE || !e.msg[0]) {
        abort();
    }
    stop_texts_free(&s);
    return 0;
}
