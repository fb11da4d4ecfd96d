/* Learning the bytes between values: see json_gap.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "tokens/json_gap.h"

/* Whether p points into j's input or to its end. */
static bool inside(const struct json *j, const char *p) {
    return (uintptr_t)p - (uintptr_t)j->start <= (uintptr_t)(j->end - j->start);
}

bool json_gap_learn(struct json_gap *g, const struct json *j, const char *from, const char *to) {
    if (j->failed || !inside(j, from) || !inside(j, to) || to <= from || to - from > JSON_GAP_BYTES)
        return false;
    *g = (struct json_gap){.n = (size_t)(to - from)};
    memcpy(g->bytes, from, g->n);
    uint32_t all = UINT32_MAX >> (JSON_GAP_BYTES - g->n);
    g->first = all & 0xFFFF;
    g->second = all >> 16;
    return true;
}
