/* The members of a JSON configuration: see keys.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "spec/keys.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/visible.h"
#include "spec/kinds.h"

enum { MAX_KEYS = 512 };

int keys_refuse(struct keys_reader *r, const struct keys_member *m, const char *expected) {
    return err_set(r->e, EXIT_DATA, "%.*s is %.*s, but %s: %s", str_shown(m->key), m->key.p,
                   str_shown(m->raw), m->raw.p, expected, r->path);
}

void keys_warn_member(struct keys_reader *r, const struct keys_member *m, const char *inside,
                      const char *what) {
    struct buf line = {0};
    buf_fmt(&line, "%s%s%.*s %s: %s", inside ? inside : "", inside ? "." : "", str_shown(m->key),
            m->key.p, what, r->path);
    visible_add(r->warnings, buf_view(&line), VISIBLE_LINE); // a key may have newlines
    buf_byte(r->warnings, '\n');
    buf_free(&line);
}

struct json keys_value(struct keys_reader *r, const struct keys_member *m) {
    struct json j;
    json_init(&j, r->path, r->text, 0, r->e); // messages count lines from the file's start
    j.python = true;
    j.p = m->raw.p;
    j.end = m->raw.p + m->raw.n;
    return j;
}

static int read_members(struct keys_reader *r, struct json *j, struct keys_object *o) {
    struct str key;
    *o = (struct keys_object){0};
    json_enter_object(j);
    while (json_key(j, &key)) {
        for (size_t i = 0; i < o->n; i++)
            if (str_same(o->members[i].key, key))
                json_refuse(j, "duplicate key '%.*s'", str_shown(key), key.p);
        if (o->n == MAX_KEYS)
            json_refuse(j, "more than %d keys", MAX_KEYS);
        if (json_failed(j))
            break;
        o->members = o->members ? o->members : xcalloc(MAX_KEYS, sizeof *o->members);
        o->members[o->n].key = arena_str(&r->mem, key.p, key.n);
        o->members[o->n++].raw = json_skip(j);
    }
    return json_failed(j) ? -1 : 0;
}

int keys_read_object(struct keys_reader *r, const struct keys_member *m, struct keys_object *o) {
    struct json j = keys_value(r, m);
    if (json_peek(&j) != JSON_OBJECT)
        return keys_refuse(r, m, "must be an object or null");
    int rc = read_members(r, &j, o);
    json_free(&j);
    if (rc != 0) {
        free(o->members);
        *o = (struct keys_object){0};
    }
    return rc;
}

int keys_open(struct keys_reader *r, const char *path, const char *text, size_t n,
              struct keys_object *o) {
    struct json j;
    r->path = path;
    r->text = text;
    json_init(&j, path, text, n, r->e);
    j.python = true;
    int bad = read_members(r, &j, o) != 0 || !json_end(&j);
    json_free(&j);
    return bad ? -1 : 0;
}

void keys_close(struct keys_reader *r, struct keys_object *o) {
    free(o->members);
    arena_free(&r->mem);
}

struct keys_member *keys_member_find(const struct keys_object *o, const char *key) {
    for (size_t i = 0; i < o->n; i++)
        if (str_eq(o->members[i].key, key))
            return &o->members[i];
    return NULL;
}

bool keys_member_is(const struct keys_member *m, const char *json) {
    return str_eq(m->raw, json);
}

bool keys_member_false(const struct keys_member *m) {
    const char *p = m->raw.p, *end = p + m->raw.n;
    if (keys_member_is(m, "null") || keys_member_is(m, "false"))
        return true;
    if (*p == '"' || *p == '[' || *p == '{') { // empty: nothing but space inside
        for (p++; p + 1 < end; p++)
            if (*m->raw.p == '"' || !strchr(" \t\r\n", *p))
                return false;
        return true;
    }
    bool digits = false;
    for (; p < end && *p != 'e' && *p != 'E'; p++) { // 0, -0.0, 0e5
        if (!strchr("-.0", *p))
            return false;
        digits |= *p == '0';
    }
    return digits;
}

bool keys_member_one(const struct keys_member *m) {
    double v;
    return parse_f64(m->raw, 1, 1, &v);
}

struct keys_member *keys_member_take(const struct keys_object *o, const char *key) {
    struct keys_member *m = keys_member_find(o, key);
    if (m)
        m->used = true;
    return m && !keys_member_is(m, "null") ? m : NULL;
}

static const struct {
    const char *name;
    enum activation act;
} activations[] = {
    {"silu", ACT_SILU},
    {"swish", ACT_SILU},
    {"gelu", ACT_GELU_ERF},
    {"gelu_python", ACT_GELU_ERF},
    {"gelu_new", ACT_GELU_TANH},
    {"gelu_fast", ACT_GELU_TANH},
    {"gelu_pytorch_tanh", ACT_GELU_TANH},
    {"relu", ACT_RELU},
};

static int read_act(struct keys_reader *r, const struct keys_member *m, enum activation *out) {
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        size_t n = strlen(activations[i].name);
        if (m->raw.n == n + 2 && m->raw.p[0] == '"' &&
            memcmp(m->raw.p + 1, activations[i].name, n) == 0) {
            *out = activations[i].act;
            return 0;
        }
    }
    return keys_refuse(r, m, "only silu, gelu, gelu_new, gelu_pytorch_tanh and relu are supported");
}

static int read_number(struct keys_reader *r, const struct keys_member *m, double *out) {
    struct json j = keys_value(r, m);
    if (json_peek(&j) != JSON_NUMBER)
        return keys_refuse(r, m, "must be a number");
    *out = json_f64(&j);
    return json_failed(&j) ? err_where(r->e, "%.*s", (int)m->key.n, m->key.p) : 0;
}

static int read_size(struct keys_reader *r, const struct keys_member *m, const struct key *k,
                     size_t *out) {
    struct json j = keys_value(r, m);
    size_t min = k->kind == KEY_SIZE;
    char expected[80];
    snprintf(expected, sizeof expected, "must be a whole number from %zu to %zu", min, k->max);
    for (size_t i = 0; i < m->raw.n; i++) // refuses 1e3, 2.0, -1 and "7"
        if (m->raw.p[i] < '0' || m->raw.p[i] > '9')
            return keys_refuse(r, m, expected);
    uint64_t v = json_u64(&j);
    if (json_failed(&j) || v < min || v > k->max)
        return keys_refuse(r, m, expected);
    *out = (size_t)v;
    return 0;
}

/* Gives m's value to the field that k names, in the struct at base. */
static int apply(struct keys_reader *r, const struct key *k, const struct keys_member *m,
                 void *base) {
    void *field = (char *)base + k->at;
    bool null = keys_member_is(m, "null"), yes = keys_member_is(m, "true") || keys_member_one(m),
         no = keys_member_false(m);
    double v = 0;

    switch (k->kind) {
    case KEY_SIZE:
    case KEY_COUNT:
        *(size_t *)field = 0;
        return null ? 0 : read_size(r, m, k, field);
    case KEY_REAL:
    case KEY_FLOAT:
        if (!null && read_number(r, m, &v) != 0)
            return -1;
        if (!null && !(v > 1e-9 && v < 1e15))
            return keys_refuse(r, m, "must be positive, and not absurdly small or large");
        if (k->kind == KEY_REAL)
            *(double *)field = v;
        else
            *(float *)field = (float)v;
        return 0;
    case KEY_EPS:
        if (read_number(r, m, &v) != 0)
            return -1;
        *(float *)field = (float)v;
        return v >= 0 && v < 1 ? 0 : keys_refuse(r, m, "must be at least 0 and less than 1");
    case KEY_TRUE:
    case KEY_FALSE:
        *(bool *)field = yes == (k->kind == KEY_TRUE);
        return yes || no ? 0 : keys_refuse(r, m, "must be true or false");
    case KEY_ACT:
        return null ? 0 : read_act(r, m, field);
    case KEY_ONLY_TRUE:
        return yes ? 0 : keys_refuse(r, m, "only true is supported");
    case KEY_ONLY_FALSE:
        return no ? 0 : keys_refuse(r, m, "only false is supported");
    case KEY_ONLY_ABSOLUTE:
        return null || keys_member_is(m, "\"absolute\"")
                   ? 0
                   : keys_refuse(r, m, "only absolute is supported");
    case KEY_ONLY_SWIGLU:
        return null || keys_member_is(m, "\"swiglu\"")
                   ? 0
                   : keys_refuse(r, m, "only swiglu is supported");
    case KEY_OTHER:
        break;
    }
    return 0;
}

bool keys_has(const struct key *keys, struct str name) {
    for (; keys->name; keys++)
        if (str_eq(name, keys->name))
            return true;
    return false;
}

int keys_apply(struct keys_reader *r, const struct key *keys, const struct keys_object *o,
               void *base, bool skip_used) {
    for (; keys->name; keys++) {
        struct keys_member *m = keys_member_find(o, keys->name);
        if (!m || (skip_used && m->used))
            continue;
        m->used = true;
        if (apply(r, keys, m, base) != 0)
            return -1;
    }
    return 0;
}

void keys_warn_unused(struct keys_reader *r, const struct keys_object *o, const char *inside) {
    for (size_t i = 0; i < o->n; i++)
        if (!o->members[i].used)
            keys_warn_member(r, &o->members[i], inside, "is not known and is ignored");
}
