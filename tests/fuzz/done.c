/* Fuzz entry: answers of an earlier run. The input is both the answers and the records.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <unistd.h>

#include "../lib/fuzzfd.h"
#include "stages/done.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct err e = {0};
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", fuzz_fd(data, size));
    warn_quiet(true);
    struct done *d = done_open(path, &e);
    if (!d) {
        if (e.code != EXIT_DATA || !e.msg[0])
            abort();
        return 0;
    }
    size_t n = 0;
    const char *p = (const char *)data, *end = p + size;
    while (p < end) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        n += done_take(d, (struct str){p, (size_t)((line ? line : end) - p)});
        p = line ? line + 1 : end;
    }
    if (n != done_lines(d)) // a record of the same bytes is the same record
        abort();
    done_free(d);
    return 0;
}
