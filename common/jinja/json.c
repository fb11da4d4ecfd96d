/* Reading JSON as Python's json.loads does, and writing it as json.dumps does for the tojson
 * filter.
 *
 * All values that are read are foreign. Writing a foreign value makes foreign text, its quotes and
 * brackets too. In a list or dict that the template made, only the foreign strings are foreign.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "jinja/jinja.h"
#include "jinja/run.h"

static struct jvalue read_number(struct jinja *in, struct json *j) {
    struct str s = json_skip(j); // already checked against the grammar
    struct jvalue v = jv_int(0);
    v.foreign = true;
    bool whole = true;
    for (size_t i = 0; i < s.n; i++)
        whole &= s.p[i] != '.' && s.p[i] != 'e' && s.p[i] != 'E';
    if (whole && parse_i64(s, INT64_MIN, INT64_MAX, &v.i))
        return v;
    struct str copy = arena_str(&in->arena, s.p, s.n);
    if (whole) {
        v.kind = V_BIG;
        v.s = jt_new(in, copy, TRUST_NONE);
    } else {
        v.kind = V_FLOAT;
        v.f = strtod(copy.p, NULL);
    }
    return v;
}

static struct jvalue read_members(struct jinja *in, struct json *j) {
    struct jvalue v = jv_dict(in);
    struct str key;
    json_enter_object(j);
    while (!in->failed && json_key(j, &key)) {
        struct jtext *name = jt_new(in, key, TRUST_NONE);
        struct jvalue member = jinja_from_json(in, j);
        jv_put(in, v.d, jv_text(name), member);
    }
    return v;
}

struct jvalue jinja_from_json(struct jinja *in, struct json *j) {
    struct jvalue v = jv_none();
    switch (json_peek(j)) {
    case JSON_NULL:
        json_null(j);
        break;
    case JSON_BOOL:
        v = jv_bool(json_bool(j));
        break;
    case JSON_NUMBER:
        return read_number(in, j);
    case JSON_STRING:
        v = jv_text(jt_new(in, json_str(j), TRUST_NONE));
        break;
    case JSON_ARRAY:
        v = jv_list(in, V_LIST, 0);
        json_enter_array(j);
        while (!in->failed && json_item(j))
            jv_push(in, v.l, jinja_from_json(in, j));
        break;
    case JSON_OBJECT:
        v = read_members(in, j);
        break;
    case JSON_ERROR:
        break;
    }
    if (in->failed)
        json_refuse(j, "%s", "JSON needs more memory than one rendering may use");
    v.foreign = true;
    return v;
}

struct dump {
    struct jbuild out;
    bool ascii, sort;
    struct jtext *indent;     // NULL: everything on one line
    struct jtext *item, *key; // separators
};

static void dump_str(struct dump *d, const struct jtext *t) {
    bool pure = jt_pure(t);
    size_t from = 0, len;
    jb_str(&d->out, "\"", pure);
    for (size_t i = 0; i < t->n; i += len) {
        uint32_t cp = (unsigned char)t->p[i];
        len = 1;
        if (cp >= 0x80 && d->ascii)
            cp = jt_decode(t, i, &len);
        if (cp >= 0x20 && cp != '"' && cp != '\\' && (cp < 0x7F || !d->ascii))
            continue;
        static const char letters[] = "\"\"\\\\\bb\ff\nn\rr\tt";
        const char *letter = NULL;
        for (const char *l = letters; *l && !letter; l += 2)
            letter = (uint32_t)*l == cp ? l + 1 : NULL;
        char text[16];
        if (letter)
            snprintf(text, sizeof text, "\\%c", *letter);
        else if (cp < 0x10000)
            snprintf(text, sizeof text, "\\u%04" PRIx32, cp);
        else
            snprintf(text, sizeof text, "\\u%04" PRIx32 "\\u%04" PRIx32, 0xD7C0 + (cp >> 10),
                     0xDC00 + (cp & 0x3FF));
        jb_slice(&d->out, t, from, i);
        jb_str(&d->out, text, jt_trusted(t, i));
        from = i + len;
    }
    jb_slice(&d->out, t, from, t->n);
    jb_str(&d->out, "\"", pure);
}

static bool dump_scalar(struct dump *d, struct jvalue v) {
    char text[40];
    if (v.kind == V_NONE) {
        jb_str(&d->out, "null", !v.foreign);
    } else if (v.kind == V_BOOL) {
        jb_str(&d->out, v.b ? "true" : "false", !v.foreign);
    } else if (v.kind == V_INT || v.kind == V_BIG) {
        jb_text(&d->out, jv_repr(d->out.in, v));
    } else if (v.kind == V_FLOAT) {
        jv_float_text(v.f, text);
        jb_str(&d->out,
               isnan(v.f)   ? "NaN"
               : isinf(v.f) ? (v.f < 0 ? "-Infinity" : "Infinity")
                            : text,
               !v.foreign);
    } else {
        return false;
    }
    return true;
}

/* Writes a separator or an indent, which is foreign if the container is. */
static void dump_mark(struct dump *d, const struct jtext *t, bool foreign) {
    if (foreign)
        jb_add(&d->out, t->p, t->n, false);
    else
        jb_text(&d->out, t);
}

static void dump_line(struct dump *d, int depth, bool foreign) {
    if (!d->indent)
        return;
    jb_str(&d->out, "\n", !foreign);
    for (int i = 0; i < depth; i++)
        dump_mark(d, d->indent, foreign);
}

static void dump_value(struct dump *d, struct jvalue v, int depth);

static void dump_list(struct dump *d, struct jvalue v, int depth) {
    jb_str(&d->out, "[", !v.foreign);
    for (size_t i = 0; i < v.l->n && !d->out.in->failed; i++) {
        if (i)
            dump_mark(d, d->item, v.foreign);
        dump_line(d, depth + 1, v.foreign);
        dump_value(d, v.l->v[i], depth + 1);
    }
    if (v.l->n)
        dump_line(d, depth, v.foreign);
    jb_str(&d->out, "]", !v.foreign);
}

/* json.dumps turns numbers, true, false and null into strings if they are keys, and refuses other
 * types. */
static void dump_key(struct dump *d, struct jvalue key) {
    if (key.kind == V_STR) {
        dump_str(d, key.s);
        return;
    }
    jb_str(&d->out, "\"", !key.foreign);
    if (!dump_scalar(d, key))
        jinja_fail(d->out.in, "TypeError: keys must be str, int, float, bool or None, not %s",
                   jv_type(key));
    jb_str(&d->out, "\"", !key.foreign);
}

static void dump_dict(struct dump *d, struct jvalue v, int depth) {
    struct jinja *in = d->out.in;
    size_t n = v.d->n;
    struct jpair *pairs = v.d->pairs;
    if (d->sort && n > 1 && jinja_room(in, n * 4 * sizeof(struct jvalue))) {
        struct jvalue *keys = jinja_alloc(in, n * sizeof *keys),
                      *order = jinja_alloc(in, n * sizeof *order);
        pairs = jinja_alloc(in, n * sizeof *pairs);
        for (size_t i = 0; i < n; i++) {
            keys[i] = v.d->pairs[i].key;
            order[i] = jv_int((int64_t)i);
        }
        jinja_sort(in, order, keys, n, false);
        for (size_t i = 0; i < n && !in->failed; i++)
            pairs[i] = v.d->pairs[order[i].i];
    }
    jb_str(&d->out, "{", !v.foreign);
    for (size_t i = 0; i < n && !in->failed; i++) {
        if (i)
            dump_mark(d, d->item, v.foreign);
        dump_line(d, depth + 1, v.foreign);
        dump_key(d, pairs[i].key);
        dump_mark(d, d->key, v.foreign);
        dump_value(d, pairs[i].value, depth + 1);
    }
    if (n)
        dump_line(d, depth, v.foreign);
    jb_str(&d->out, "}", !v.foreign);
}

static void dump_value(struct dump *d, struct jvalue v, int depth) {
    struct jinja *in = d->out.in;
    if (!jinja_steps(in, 2) || dump_scalar(d, v) || !jinja_deeper(in))
        return;
    if (v.kind == V_STR)
        dump_str(d, v.s);
    else if (v.kind == V_LIST || v.kind == V_TUPLE)
        dump_list(d, v, depth);
    else if (v.kind == V_DICT)
        dump_dict(d, v, depth);
    else
        jinja_fail(in, "TypeError: Object of type %s is not JSON serializable", jv_type(v));
    in->depth--;
}

/* a: ensure_ascii, indent, separators, sort_keys. */
struct jvalue jinja_to_json(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    struct dump d = {.ascii = jinja_arg_bool(in, a[0], false),
                     .sort = jinja_arg_bool(in, a[3], false)};
    int64_t spaces;
    if (jv_int_of(a[1], &spaces)) {
        struct jbuild b;
        jb_init(&b, in, 16);
        jb_fill(&b, jt_new(in, str_of(" "), TRUST_ALL), spaces);
        d.indent = jb_done(&b);
    } else if (jv_is_str(a[1])) {
        d.indent = a[1].s;
    } else if (a[1].kind != V_MISSING && a[1].kind != V_NONE) {
        return jinja_fail(in, "TypeError: tojson: indent must be a number or a string, not %s",
                          jv_type(a[1]));
    }
    d.item = jt_new(in, str_of(d.indent ? "," : ", "), TRUST_ALL);
    d.key = jt_new(in, str_of(": "), TRUST_ALL);
    if (a[2].kind == V_LIST || a[2].kind == V_TUPLE) {
        if (a[2].l->n != 2 || !jv_is_str(a[2].l->v[0]) || !jv_is_str(a[2].l->v[1]))
            return jinja_fail(in, "ValueError: tojson: separators must be two strings");
        d.item = a[2].l->v[0].s;
        d.key = a[2].l->v[1].s;
    } else if (a[2].kind != V_MISSING && a[2].kind != V_NONE) {
        return jinja_fail(in, "TypeError: tojson: separators must be two strings, not %s",
                          jv_type(a[2]));
    }
    jb_init(&d.out, in, 256);
    dump_value(&d, self, 0);
    return jv_text(jb_done(&d.out));
}
