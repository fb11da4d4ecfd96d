/* Sequences in order: see in_order.h. For each sequence that waits there is a list of spans of the
 * temporary file; adjacent spans are merged. The file is never packed, so it grows to the sum of
 * all bytes that had to wait.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "wire/in_order.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/u32_map.h"

struct span {
    off_t at; // in the temporary file
    size_t n; // bytes
};

struct waiting {
    uint32_t seq;
    bool ended;
    struct span *spans; // [n]
    size_t n, cap;
};

struct in_order {
    FILE *out;
    char *folder;            // of the temporary file; NULL: io_temp's default
    int fd;                  // of the temporary file; -1 until it is needed
    off_t end;               // its length
    uint32_t next;           // the sequence that goes straight to out
    struct waiting *waiting; // [n], in no order
    size_t n, cap;
    struct u32_map by_seq; // index into waiting
};

struct in_order *in_order_new(FILE *out, const char *folder) {
    struct in_order *o = xcalloc(1, sizeof *o);
    o->out = out;
    o->fd = -1;
    o->folder = folder ? xstrdup(folder) : NULL;
    return o;
}

void in_order_free(struct in_order *o) {
    if (!o)
        return;
    for (size_t i = 0; i < o->n; i++)
        free(o->waiting[i].spans);
    if (o->fd >= 0)
        close(o->fd);
    free(o->waiting);
    u32_map_free(&o->by_seq);
    free(o->folder);
    free(o);
}

/* The entry of seq; a new one if there is none. */
static struct waiting *entry(struct in_order *o, uint32_t seq) {
    uint32_t i = u32_map_find(&o->by_seq, seq);
    if (i != U32_MAP_NONE)
        return &o->waiting[i];
    if (o->n == o->cap) {
        o->cap = 2 * o->cap + 16;
        o->waiting = xreallocarray(o->waiting, o->cap, sizeof *o->waiting);
    }
    u32_map_set(&o->by_seq, seq, (uint32_t)o->n);
    o->waiting[o->n] = (struct waiting){.seq = seq};
    return &o->waiting[o->n++];
}

static int write_out(const struct in_order *o, const void *p, size_t n, struct err *e) {
    return fwrite(p, 1, n, o->out) == n ? 0 : err_errno(e, EXIT_IO, "cannot write");
}

static int set_aside(struct in_order *o, uint32_t seq, const void *p, size_t n, struct err *e) {
    if (o->fd < 0)
        o->fd = io_temp(o->folder, e);
    if (o->fd < 0)
        return -1;
    if (lseek(o->fd, o->end, SEEK_SET) < 0)
        return err_errno(e, EXIT_IO, "cannot seek in a temporary file");
    if (write_full(o->fd, p, n, e) != 0)
        return -1;
    struct waiting *w = entry(o, seq);
    if (w->n && w->spans[w->n - 1].at + (off_t)w->spans[w->n - 1].n == o->end) {
        w->spans[w->n - 1].n += n;
    } else {
        if (w->n == w->cap) {
            w->cap = 2 * w->cap + 4;
            w->spans = xreallocarray(w->spans, w->cap, sizeof *w->spans);
        }
        w->spans[w->n++] = (struct span){o->end, n};
    }
    o->end += (off_t)n;
    return 0;
}

static void drop(struct in_order *o, struct waiting *w) {
    uint32_t seq = w->seq;
    free(w->spans);
    *w = o->waiting[--o->n];
    u32_map_set(&o->by_seq, w->seq, (uint32_t)(w - o->waiting));
    u32_map_remove(&o->by_seq, seq);
}

/* Writes the waiting bytes of an entry. */
static int bring_back(const struct in_order *o, const struct waiting *w, struct err *e) {
    char bytes[1 << 16];
    int rc = 0;
    for (size_t i = 0; i < w->n && rc == 0; i++) {
        size_t got;
        if (lseek(o->fd, w->spans[i].at, SEEK_SET) < 0)
            rc = err_errno(e, EXIT_IO, "cannot seek in a temporary file");
        for (size_t left = w->spans[i].n; left > 0 && rc == 0; left -= got) {
            rc = read_full(o->fd, bytes, left < sizeof bytes ? left : sizeof bytes, &got, e);
            if (rc == 0 && got == 0)
                rc = err_set(e, EXIT_IO, "a temporary file has become shorter");
            if (rc == 0)
                rc = write_out(o, bytes, got, e);
        }
    }
    return rc;
}

int in_order_write(struct in_order *o, uint32_t seq, const void *p, size_t n, struct err *e) {
    return seq == o->next ? write_out(o, p, n, e) : set_aside(o, seq, p, n, e);
}

int in_order_end(struct in_order *o, uint32_t seq, struct err *e) {
    if (seq != o->next) {
        if (seq > o->next)
            entry(o, seq)->ended = true;
        return 0;
    }
    bool ended = true;
    while (ended) { // go on to the first sequence that has not ended yet
        o->next++;
        uint32_t i = u32_map_find(&o->by_seq, o->next);
        if (i == U32_MAP_NONE)
            break;
        ended = o->waiting[i].ended;
        if (bring_back(o, &o->waiting[i], e) != 0)
            return -1;
        drop(o, &o->waiting[i]);
    }
    return 0;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = ((const struct waiting *)a)->seq, y = ((const struct waiting *)b)->seq;
    return (x > y) - (x < y);
}

int in_order_finish(struct in_order *o, struct err *e) {
    if (o->n > 0)
        qsort(o->waiting, o->n, sizeof *o->waiting, by_number);
    for (size_t i = 0; i < o->n; i++)
        if (bring_back(o, &o->waiting[i], e) != 0)
            return -1;
    for (size_t i = 0; i < o->n; i++)
        free(o->waiting[i].spans);
    o->n = 0;
    u32_map_free(&o->by_seq);
    return 0;
}
