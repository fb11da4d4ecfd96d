/* The byte alphabet: see bytechars.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/bytechars.h"

#include "tokens/unicode.h"

long bytechars_decode(struct str s, char *out) {
    size_t n = 0;
    for (size_t i = 0, len; i < s.n; i += len) {
        int byte = bytechar_byte(uni_next(s.p + i, &len));
        if (byte < 0)
            return -1;
        out[n++] = (char)byte;
    }
    return (long)n;
}
