/* Fast reading of long lists whose elements have one shape: {"text": 1, ...}, ["a b", ...], [["a",
 * "b"], ...].
 *
 * The bytes between two values of such a list are usually the same for all elements. Here each gap
 * is `",\n  "` or `": `:
 *
 *     {
 *       "the": 262,
 *       "of": 286
 *
 * A gap is learned from bytes that the parser of json.h has read once. If the same bytes follow in
 * the same state, the parser would accept them again, so one comparison skips them. Any other bytes
 * go to json.h, which reads them or reports the error.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_JSON_GAP_H
#define TOKENS_JSON_GAP_H

#include "base/json.h"
#include "base/scan.h"

enum { JSON_GAP_BYTES = 32 };

struct json_gap {
    char bytes[JSON_GAP_BYTES]; // [n]
    unsigned first, second;     // a bit for each of the first 16 bytes, and for each of the others
    size_t n;
};

/* Whether the bytes at *p are those of a learned gap; *p then moves past them. JSON_GAP_BYTES must
 * be readable at *p. */
static inline bool json_gap_skip(const struct json_gap *g, const char **p) {
    if ((scan_same16(*p, g->bytes) & g->first) != g->first ||
        (g->second && (scan_same16(*p + 16, g->bytes + 16) & g->second) != g->second))
        return false;
    *p += g->n;
    return true;
}

/* Learns the bytes [from, to), which j has read. False if they are too many or outside j's input,
 * as a string with escapes is. */
bool json_gap_learn(struct json_gap *g, const struct json *j, const char *from, const char *to);

#endif
