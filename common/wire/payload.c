/* Payloads of the binary streams: see payload.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/payload.h"

#include <string.h>

#include "base/io.h"
#include "base/utf8.h"

enum { FIRST_BYTES = 1 << 16 };

int payload_read(struct payload *b, int fd, size_t n, size_t *have, struct err *e) {
    size_t got;
    for (*have = 0; *have < n; *have += got) {
        if (*have == b->cap) {
            b->cap = b->cap ? 2 * b->cap : FIRST_BYTES;
            b->p = xreallocarray(b->p, b->cap, 1);
        }
        size_t part = n < b->cap ? n - *have : b->cap - *have;
        if (read_full(fd, b->p + *have, part, &got, e) != 0)
            return -1;
        if (got < part) {
            *have += got;
            return 0;
        }
    }
    return 0;
}

bool payload_all_zero(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

struct str payload_one_line(struct str s, size_t most) {
    const char *newline = s.n ? memchr(s.p, '\n', s.n) : NULL;
    s.n = newline ? (size_t)(newline - s.p) : s.n;
    s.n = utf8_valid(s.p, s.n < most ? s.n : most);
    return s;
}
