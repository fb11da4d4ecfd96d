/* Texts of records: see texts.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "stages/texts.h"

#include <stdlib.h>

#include "base/attrs.h"
#include "base/io.h"
#include "base/json.h"
#include "base/strmap.h"
#include "chat/record.h"

enum { MOST_LINES = 1 << 30, LEAST_LINE = 2 }; // bytes: "{}" and its newline are more

struct texts {
    struct map map;
    size_t *lines; // [n_lines]: where each begins; n_lines has the file's end
    size_t n_lines, cap;
    struct strmap ids; // to the line's number
    struct arena mem;
};

bool texts_id(struct str attrs, struct buf *out) {
    bool found = attrs_get(attrs, "custom_id", out) || attrs_get(attrs, "id", out);
    return found && out->n > 0 && !memchr(out->p, '\n', out->n);
}

/* Reads the id, and the text unless it is NULL. */
static int read_record(struct str record, struct buf *id, struct buf *text, struct err *e) {
    struct buf attrs = {0};
    struct json j;
    struct str key;
    uint32_t notes = 0;
    buf_clear(id);
    json_init(&j, NULL, record.p, record.n, e);
    json_enter_object(&j);
    while (json_key(&j, &key)) {
        if (str_eq(key, "id") || str_eq(key, "custom_id")) {
            record_member(&j, key, &attrs, &notes);
        } else if (text && str_eq(key, "text") && json_peek(&j) == JSON_STRING) {
            struct str s = json_str(&j);
            buf_clear(text);
            buf_add(text, s.p, s.n);
        } else {
            json_skip(&j);
        }
    }
    bool good = json_end(&j);
    json_free(&j);
    if (good && !texts_id(attrs.n ? buf_view(&attrs) : str_of(""), id))
        buf_clear(id);
    buf_free(&attrs);
    return good ? 0 : -1;
}

int texts_read(struct str record, struct buf *id, struct buf *text, struct err *e) {
    buf_clear(text);
    return read_record(record, id, text, e);
}

static void add_line(struct texts *t, size_t at) {
    if (t->n_lines == t->cap) {
        t->cap = 2 * t->cap + 256;
        t->lines = xreallocarray(t->lines, t->cap, sizeof *t->lines);
    }
    t->lines[t->n_lines++] = at;
}

static struct str line_of(const struct texts *t, size_t i) {
    size_t end = i + 1 < t->n_lines ? t->lines[i + 1] - 1 : t->map.n;
    struct str s = {(const char *)t->map.p + t->lines[i], end - t->lines[i]};
    if (s.n && s.p[s.n - 1] == '\n') // of the last line
        s.n--;
    return s;
}

static int read_ids(struct texts *t, const char *path, struct err *e) {
    struct buf id = {0};
    int rc = 0;
    strmap_init(&t->ids, t->n_lines);
    for (size_t i = 0; i < t->n_lines && rc == 0; i++) {
        struct err bad = {0};
        if (read_record(line_of(t, i), &id, NULL, &bad) != 0)
            rc = err_set(e, EXIT_DATA, "%s: line %zu of %s", bad.msg, i + 1, path);
        else if (id.n && !strmap_add(&t->ids, arena_str(&t->mem, id.p, id.n), (uint32_t)i))
            rc = err_set(e, EXIT_DATA, "duplicate id %.*s: line %zu of %s",
                         str_shown(buf_view(&id)), id.p, i + 1, path);
    }
    buf_free(&id);
    return rc;
}

struct texts *texts_open(const char *path, struct err *e) {
    struct texts *t = xcalloc(1, sizeof *t);
    int rc = map_file(&t->map, path, e);
    for (size_t at = 0; rc == 0 && at < t->map.n;) {
        const unsigned char *end = memchr(t->map.p + at, '\n', t->map.n - at);
        size_t next = end ? (size_t)(end - t->map.p) + 1 : t->map.n;
        bool too_short = next - at <= LEAST_LINE;
        add_line(t, at);
        at = next;
        if (too_short && at < t->map.n) { // read_ids refuses it: no need to look further
            add_line(t, at);
            break;
        }
        if (t->n_lines == MOST_LINES)
            rc = err_set(e, EXIT_DATA, "more than %d lines: %s", MOST_LINES, path);
    }
    if (rc == 0)
        rc = read_ids(t, path, e);
    if (rc == 0)
        return t;
    texts_free(t);
    return NULL;
}

void texts_free(struct texts *t) {
    if (!t)
        return;
    strmap_free(&t->ids);
    arena_free(&t->mem);
    unmap_file(&t->map);
    free(t->lines);
    free(t);
}

bool texts_have(const struct texts *t, struct str id) {
    uint32_t line;
    return strmap_find(&t->ids, id, &line);
}

bool texts_find(const struct texts *t, struct str id, struct buf *out) {
    uint32_t line;
    struct buf ignored_id = {0};
    struct err ignored = {0};
    buf_clear(out);
    bool found = strmap_find(&t->ids, id, &line) &&
                 read_record(line_of(t, line), &ignored_id, out, &ignored) == 0;
    buf_free(&ignored_id);
    return found && out->n > 0;
}
