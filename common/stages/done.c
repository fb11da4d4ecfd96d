/* Records with answers: see done.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/done.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/io.h"
#include "base/json.h"
#include "base/records.h"
#include "base/strmap.h"

enum { MAX_LINE = 0x7fffffff };

struct done {
    struct arena mem;
    struct str *ids; // [n]
    size_t n, cap;
    struct strmap map; // an id to its place in counts
    uint32_t *counts;  // answers that are left
    size_t n_without_id;
};

/* What a line or a record says. */
struct line {
    struct buf id; // which key, and its value; empty: none
    struct buf finish;
    size_t finish_bytes; // of the key: ours has more underscores than the user's
    bool custom, text, error;
};

static void line_free(struct line *l) {
    buf_free(&l->id);
    buf_free(&l->finish);
}

/* Reads an id. 7 and "7" are different; a string is compared without its escapes. */
static void read_id(struct json *j, struct line *l, bool custom) {
    bool string = json_peek(j) == JSON_STRING;
    struct str value = string ? json_str(j) : json_skip(j);
    if (l->custom && !custom)
        return;
    l->custom = custom;
    buf_clear(&l->id);
    if (str_eq(value, "null") && !string)
        return;
    buf_byte(&l->id, custom ? 'c' : 'i');
    buf_byte(&l->id, string ? '"' : ' ');
    buf_add(&l->id, value.p, value.n);
}

/* "finish" with any number of underscores after it. */
static bool is_finish(struct str key) {
    static const char name[] = "finish";
    size_t n = sizeof name - 1;
    if (key.n < n || memcmp(key.p, name, n) != 0)
        return false;
    while (n < key.n && key.p[n] == '_')
        n++;
    return n == key.n;
}

static bool read_line(struct str text, struct line *l, struct err *e) {
    struct str key;
    struct json j;
    json_init(&j, "record", text.p, text.n, e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        if (str_eq(key, "id") || str_eq(key, "custom_id")) {
            read_id(&j, l, key.n > 2);
        } else if (is_finish(key) && key.n >= l->finish_bytes && json_peek(&j) == JSON_STRING) {
            struct str value = json_str(&j);
            l->finish_bytes = key.n;
            buf_clear(&l->finish);
            buf_add(&l->finish, value.p, value.n);
        } else {
            l->text |= str_eq(key, "text");
            l->error |= str_eq(key, "error");
            json_skip(&j);
        }
    }
    bool good = json_end(&j);
    json_free(&j);
    return good;
}

static bool is_complete(const struct line *l) {
    struct str finish = buf_view(&l->finish);
    if (!l->text)
        return !l->error;
    return l->finish_bytes > 0 &&
           (str_eq(finish, "eos") || str_eq(finish, "stop") || str_eq(finish, "length"));
}

static int add_line(struct done *d, struct str text, struct err *e) {
    struct line l = {0};
    bool good = read_line(text, &l, e);
    if (good && l.id.n && is_complete(&l)) {
        if (d->n == d->cap) {
            d->cap = 2 * d->cap + 64;
            d->ids = xreallocarray(d->ids, d->cap, sizeof *d->ids);
        }
        d->ids[d->n++] = arena_str(&d->mem, l.id.p, l.id.n);
    }
    line_free(&l);
    return good ? 0 : -1;
}

static int read_lines(struct done *d, int fd, const char *path, struct err *e) {
    struct records *r = records_new(fd, path, RECORDS_LINES, MAX_LINE);
    struct str text;
    struct err bad = {0};
    int more;
    for (size_t number = 1; (more = records_next(r, &text, e)) > 0; number++) {
        if (records_cut(r)) {
            warn("line %zu has no newline: it was cut, and its record is not skipped: %s", number,
                 path);
        } else if (add_line(d, text, &bad) != 0) {
            more = err_set(e, EXIT_DATA, "%s: line %zu of %s", bad.msg, number, path);
            break;
        }
    }
    records_free(r);
    return more;
}

static void make_map(struct done *d) {
    strmap_init(&d->map, d->n);
    d->counts = xcalloc(d->n, sizeof *d->counts);
    for (uint32_t i = 0, at; i < d->n; i++) {
        if (!strmap_add(&d->map, d->ids[i], i))
            strmap_find(&d->map, d->ids[i], &at);
        else
            at = i;
        d->counts[at]++;
    }
}

struct done *done_open(const char *path, struct err *e) {
    struct done *d = xcalloc(1, sizeof *d);
    int rc = 0;
    if (access(path, F_OK) == 0) {
        const char *name;
        int fd = open_operand(path, &name, e);
        rc = fd < 0 ? -1 : read_lines(d, fd, name, e);
        if (fd > STDIN_FILENO)
            close(fd);
    }
    if (rc != 0) {
        done_free(d);
        return NULL;
    }
    make_map(d);
    return d;
}

void done_free(struct done *d) {
    if (!d)
        return;
    strmap_free(&d->map);
    arena_free(&d->mem);
    free(d->ids);
    free(d->counts);
    free(d);
}

bool done_take(struct done *d, struct str record) {
    struct line l = {0};
    struct err ignored = {0};
    uint32_t at;
    bool taken = false;
    if (read_line(record, &l, &ignored)) {
        d->n_without_id += l.id.n == 0;
        taken = l.id.n && strmap_find(&d->map, buf_view(&l.id), &at) && d->counts[at] > 0;
        if (taken)
            d->counts[at]--;
    }
    line_free(&l);
    return taken;
}

size_t done_lines(const struct done *d) {
    return d->n;
}

size_t done_without_id(const struct done *d) {
    return d->n_without_id;
}
