/* What was cached of a prompt, as text: see note.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/note.h"

#include <inttypes.h>

#include "base/attrs.h"
#include "base/num.h"

void note_write(struct buf *out, const struct note *n) {
    buf_fmt(out, "cached=%" PRIu32, n->cached);
    if (n->has_match)
        buf_fmt(out, " match=%" PRIu32, n->match);
    if (n->has_match && n->has_ours)
        buf_fmt(out, " ours=%" PRIu32, n->ours);
    if (n->has_match && n->has_theirs)
        buf_fmt(out, " theirs=%" PRIu32, n->theirs);
}

/* *has: the text has the key, whose value is *to. */
static int take(struct str text, const char *key, uint32_t *to, bool *has, struct err *e) {
    struct buf value = {0};
    uint64_t number = 0;
    int rc = 0;
    *has = attrs_get(text, key, &value);
    if (*has && !parse_u64(buf_view(&value), 0, UINT32_MAX, &number))
        rc = err_set(e, EXIT_DATA, "a note's %s is not a number: '%.*s'", key,
                     str_shown(buf_view(&value)), value.p ? value.p : "");
    *to = (uint32_t)number;
    buf_free(&value);
    return rc;
}

int note_read(struct note *n, struct str text, struct err *e) {
    bool has_cached;
    *n = (struct note){0};
    return take(text, "cached", &n->cached, &has_cached, e) != 0 ||
                   take(text, "match", &n->match, &n->has_match, e) != 0 ||
                   take(text, "ours", &n->ours, &n->has_ours, e) != 0 ||
                   take(text, "theirs", &n->theirs, &n->has_theirs, e) != 0
               ? -1
               : 0;
}
