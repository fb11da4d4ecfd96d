/* Reading long lists of one shape: {"text": 1, ...}, ["a b", ...], [["a", "b"], ...].
 *
 * What stands between the values of such a list (quotes, commas, colons, brackets, white space) is
 * the same from one to the next. A gap is those bytes, as the parser of json.h has passed them
 * once; where the same bytes come again in the same state, it would pass them again, so they are
 * stepped over with one comparison. Where others come, json.h reads them, and says what is wrong
 * with them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_JSON_GAP_H
#define TOKENS_JSON_GAP_H

#include "base/json.h"
#include "base/scan.h"

enum { JSON_GAP_BYTES = 32 };

struct json_gap {
    char bytes[JSON_GAP_BYTES]; // [n]
    unsigned first, second;     // a bit for each of their first 16, and of the others
    size_t n;
};

/* Whether the bytes of a gap that was learnt stand at p, of which JSON_GAP_BYTES can be read; then
 * *p is moved behind them. */
static inline bool json_gap_skip(const struct json_gap *g, const char **p) {
    if ((scan_same16(*p, g->bytes) & g->first) != g->first ||
        (g->second && (scan_same16(*p + 16, g->bytes + 16) & g->second) != g->second))
        return false;
    *p += g->n;
    return true;
}

/* Learns from..to, which j has passed. False where that is too long, or no part of j's input, as a
 * string with escapes is not. */
bool json_gap_learn(struct json_gap *g, const struct json *j, const char *from, const char *to);

#endif
