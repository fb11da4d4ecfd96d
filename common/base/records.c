/* Records from a descriptor: see records.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/records.h"

#include <stdlib.h>

#include "base/io.h"

enum { READ_SIZE = 1 << 18 };

struct records {
    int fd;
    const char *name;
    enum records_kind kind;
    size_t max;
    struct buf buf;
    size_t from;     // the next record begins here
    size_t searched; // no record ends between from and here
    size_t count;    // records returned
    bool cut;        // the last record had no terminator
    bool ended;      // the descriptor is at its end
};

struct records *records_new(int fd, const char *name, enum records_kind kind, size_t max) {
    struct records *r = xcalloc(1, sizeof *r);
    r->fd = fd;
    r->name = name;
    r->kind = kind;
    r->max = max;
    return r;
}

void records_free(struct records *r) {
    if (r)
        buf_free(&r->buf);
    free(r);
}

/* The end of the next record, or NULL. */
static const char *find_end(const struct records *r, size_t from) {
    if (r->kind == RECORDS_WHOLE || from == r->buf.n)
        return NULL;
    return memchr(r->buf.p + from, r->kind == RECORDS_LINES ? '\n' : '\0', r->buf.n - from);
}

bool records_pending(const struct records *r) {
    return find_end(r, r->searched > r->from ? r->searched : r->from) || r->ended;
}

bool records_cut(const struct records *r) {
    return r->cut;
}

static int read_more(struct records *r, struct err *e) {
    if (r->from) { // drop the records already returned
        memmove(r->buf.p, r->buf.p + r->from, r->buf.n - r->from);
        r->buf.n -= r->from;
        r->searched -= r->from;
        r->from = 0;
    }
    if (r->buf.n > r->max)
        return err_set(e, EXIT_DATA, "record %zu is longer than %zu bytes: %s", r->count + 1,
                       r->max, r->name);
    buf_reserve(&r->buf, READ_SIZE);
    ssize_t n = read_some(r->fd, r->buf.p + r->buf.n, READ_SIZE);
    if (n < 0)
        return err_errno(e, EXIT_IO, "cannot read %s", r->name);
    r->ended = n == 0;
    r->buf.n += (size_t)n;
    return 0;
}

int records_fill(struct records *r, struct err *e) {
    r->searched = r->buf.n;
    return read_more(r, e);
}

int records_next(struct records *r, struct str *record, struct err *e) {
    for (;;) {
        if (r->searched < r->from)
            r->searched = r->from;
        const char *end = find_end(r, r->searched);
        bool last = !end && r->ended;
        if (last && r->from == r->buf.n && !(r->kind == RECORDS_WHOLE && r->count == 0))
            return 0;
        if (end || last) {
            size_t stop = end ? (size_t)(end - r->buf.p) : r->buf.n;
            if (stop - r->from > r->max)
                return err_set(e, EXIT_DATA, "record %zu is longer than %zu bytes: %s",
                               r->count + 1, r->max, r->name);
            *record = (struct str){r->buf.p ? r->buf.p + r->from : "", stop - r->from};
            r->from = end ? stop + 1 : stop;
            r->cut = last;
            r->count++;
            return 1;
        }
        if (records_fill(r, e) != 0)
            return -1;
    }
}
