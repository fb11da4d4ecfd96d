/* Values: see value.h. Equality, order, truth and length follow Python's data model.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/value.h"

#include <math.h>
#include <stdlib.h>

#include "jinja/run.h"

struct jvalue jv_none(void) {
    return (struct jvalue){.kind = V_NONE};
}

struct jvalue jv_bool(bool b) {
    return (struct jvalue){.kind = V_BOOL, .b = b};
}

struct jvalue jv_int(int64_t i) {
    return (struct jvalue){.kind = V_INT, .i = i};
}

struct jvalue jv_float(double f) {
    return (struct jvalue){.kind = V_FLOAT, .f = f};
}

struct jvalue jv_text(struct jtext *s) {
    return (struct jvalue){.kind = V_STR, .s = s};
}

struct jvalue jv_str(struct jinja *in, const char *s) {
    return jv_text(jt_new(in, str_of(s), TRUST_ALL));
}

struct jvalue jv_undef(struct jinja *in, const char *message, const char *type, struct str name) {
    struct jundef *u = jinja_alloc(in, sizeof *u);
    *u = (struct jundef){message, type, name};
    return (struct jvalue){.kind = V_UNDEF, .undef = u};
}

struct jvalue jv_list(struct jinja *in, enum jkind kind, size_t cap) {
    struct jlist *l = jinja_alloc(in, sizeof *l);
    size_t bytes;
    if (cap && mul_size(cap, sizeof *l->v, &bytes) && jinja_room(in, bytes)) {
        l->v = jinja_alloc(in, bytes);
        l->cap = cap;
    }
    return (struct jvalue){.kind = (uint8_t)kind, .l = l};
}

void jv_push(struct jinja *in, struct jlist *l, struct jvalue v) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 4;
        if (!jinja_room(in, cap * sizeof *l->v))
            return;
        struct jvalue *more = jinja_alloc(in, cap * sizeof *l->v);
        if (l->n)
            memcpy(more, l->v, l->n * sizeof *l->v);
        l->v = more;
        l->cap = cap;
    }
    l->v[l->n++] = v;
}

struct jvalue jv_pair(struct jinja *in, struct jvalue a, struct jvalue b) {
    struct jvalue t = jv_list(in, V_TUPLE, 2);
    jv_push(in, t.l, a);
    jv_push(in, t.l, b);
    return t;
}

bool jv_is_number(struct jvalue v) {
    return v.kind == V_BOOL || v.kind == V_INT || v.kind == V_BIG || v.kind == V_FLOAT;
}

bool jv_int_of(struct jvalue v, int64_t *i) {
    if (v.kind != V_INT && v.kind != V_BOOL)
        return false;
    *i = v.kind == V_INT ? v.i : v.b;
    return true;
}

bool jv_float_of(struct jvalue v, double *f) {
    if (v.kind == V_FLOAT)
        *f = v.f;
    else if (v.kind == V_INT)
        *f = (double)v.i;
    else if (v.kind == V_BOOL)
        *f = v.b;
    else if (v.kind == V_BIG)
        *f = strtod(v.s->p, NULL); // its digits end in a NUL
    else
        return false;
    return true;
}

const char *jv_type(struct jvalue v) {
    static const char *const names[] = {[V_MISSING] = "missing",
                                        [V_UNDEF] = "Undefined",
                                        [V_NONE] = "NoneType",
                                        [V_BOOL] = "bool",
                                        [V_INT] = "int",
                                        [V_BIG] = "int",
                                        [V_FLOAT] = "float",
                                        [V_STR] = "str",
                                        [V_LIST] = "list",
                                        [V_TUPLE] = "tuple",
                                        [V_DICT] = "dict",
                                        [V_RANGE] = "range",
                                        [V_NAMESPACE] = "TemplateNamespace",
                                        [V_MACRO] = "Macro",
                                        [V_LOOP] = "LoopContext",
                                        [V_METHOD] = "builtin_function_or_method",
                                        [V_FUNCTION] = "function",
                                        [V_CYCLER] = "Cycler",
                                        [V_JOINER] = "Joiner"};
    static const char *const views[] = {"dict_keys", "dict_values", "dict_items"};
    if (v.kind == V_VIEW)
        return views[v.sub];
    if (v.kind == V_GEN)
        return v.gen->type;
    return v.kind == V_STR && v.s->markup ? "Markup" : names[v.kind];
}

bool jv_hashable(struct jinja *in, struct jvalue v) {
    if (v.kind == V_LIST || v.kind == V_DICT || v.kind == V_VIEW) {
        jinja_fail(in, "TypeError: unhashable type: '%s'", jv_type(v));
        return false;
    }
    if (v.kind != V_TUPLE || !jinja_deeper(in))
        return !in->failed;
    for (size_t i = 0; i < v.l->n && !in->failed; i++)
        jv_hashable(in, v.l->v[i]);
    in->depth--;
    return !in->failed;
}

bool jv_truth(struct jinja *in, struct jvalue v) {
    int64_t n;
    switch (v.kind) {
    case V_UNDEF:
    case V_NONE:
        return false;
    case V_BOOL:
        return v.b;
    case V_INT:
        return v.i != 0;
    case V_FLOAT:
        return v.f != 0;
    case V_STR:
        return v.s->n != 0;
    default:
        return jv_len(in, v, &n) ? n != 0 : true;
    }
}

bool jv_len(struct jinja *in, struct jvalue v, int64_t *n) {
    switch (v.kind) {
    case V_UNDEF:
        *n = 0;
        return true;
    case V_STR:
        *n = (int64_t)jt_chars(in, v.s);
        return true;
    case V_LIST:
    case V_TUPLE:
        *n = (int64_t)v.l->n;
        return true;
    case V_DICT:
    case V_VIEW:
        *n = (int64_t)v.d->n;
        return true;
    case V_RANGE:
        *n = v.range->n;
        return true;
    case V_LOOP:
        return jinja_loop_length(in, v.loop, n);
    default:
        return false;
    }
}

bool jv_same(struct jvalue a, struct jvalue b) {
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case V_UNDEF:
        return a.undef == b.undef;
    case V_NONE:
        return true;
    case V_BOOL:
        return a.b == b.b;
    case V_INT:
        return a.i == b.i && a.i >= -5 && a.i <= 256; // CPython has one object for each of these
    case V_FLOAT:
        return false;
    case V_STR:
        return a.s->p == b.s->p && a.s->n == b.s->n;
    default:
        return a.l == b.l; // the other kinds are pointers
    }
}

static bool list_equal(struct jinja *in, const struct jlist *a, const struct jlist *b) {
    bool equal = a->n == b->n && jinja_deeper(in);
    if (!equal)
        return false;
    for (size_t i = 0; equal && i < a->n; i++)
        equal = jv_equal(in, a->v[i], b->v[i]);
    in->depth--;
    return equal;
}

static bool dict_equal(struct jinja *in, const struct jdict *a, const struct jdict *b) {
    bool equal = a->n == b->n && jinja_deeper(in);
    if (!equal)
        return false;
    for (size_t i = 0; equal && i < a->n; i++) {
        struct jvalue *other = jv_get(in, b, a->pairs[i].key);
        equal = other && jv_equal(in, a->pairs[i].value, *other);
    }
    in->depth--;
    return equal;
}

/* Compares exactly; converting i to double would round it. */
static int order_int_float(int64_t i, double f) {
    if (f >= 0x1p63)
        return -1;
    if (f < -0x1p63)
        return 1;
    int64_t whole = (int64_t)f;
    if (i != whole)
        return i < whole ? -1 : 1;
    double rest = f - (double)whole;
    return (rest < 0) - (rest > 0);
}

static int order_numbers(struct jvalue a, struct jvalue b) {
    int64_t i, k;
    double x = 0, y = 0;
    bool a_int = jv_int_of(a, &i), b_int = jv_int_of(b, &k);
    if (a_int && b_int)
        return (i > k) - (i < k);
    if (a.kind == V_BIG && b.kind == V_BIG && str_same(jt_view(a.s), jt_view(b.s)))
        return 0;
    jv_float_of(a, &x);
    jv_float_of(b, &y);
    if (isnan(x) || isnan(y))
        return 2;
    if (a_int)
        return order_int_float(i, y);
    return b_int ? -order_int_float(k, x) : (x > y) - (x < y);
}

bool jv_equal(struct jinja *in, struct jvalue a, struct jvalue b) {
    if (!jinja_steps(in, 1))
        return false;
    if (jv_is_number(a) && jv_is_number(b))
        return order_numbers(a, b) == 0;
    if (a.kind != b.kind)
        return false;
    switch (a.kind) {
    case V_UNDEF:
        return true;
    case V_STR:
        return str_same(jt_view(a.s), jt_view(b.s)) && jinja_steps(in, a.s->n / 64);
    case V_LIST:
    case V_TUPLE:
        return a.l == b.l || list_equal(in, a.l, b.l);
    case V_DICT:
        return a.d == b.d || dict_equal(in, a.d, b.d);
    case V_RANGE:
        return a.range->n == b.range->n && (a.range->n == 0 || a.range->start == b.range->start) &&
               (a.range->n < 2 || a.range->step == b.range->step);
    default:
        return jv_same(a, b);
    }
}

static int order_text(struct jinja *in, const struct jtext *a, const struct jtext *b) {
    size_t n = a->n < b->n ? a->n : b->n;
    jinja_steps(in, n / 64);
    int c = n ? memcmp(a->p, b->p, n) : 0; // the order of UTF-8 bytes is that of code points
    return c ? (c > 0) - (c < 0) : (a->n > b->n) - (a->n < b->n); // 2 would be "unordered"
}

int jv_order(struct jinja *in, struct jvalue a, struct jvalue b, const char *op) {
    if (!jinja_steps(in, 1))
        return 0;
    if (jv_is_number(a) && jv_is_number(b))
        return order_numbers(a, b);
    if (a.kind == V_STR && b.kind == V_STR)
        return order_text(in, a.s, b.s);
    if ((a.kind == V_LIST || a.kind == V_TUPLE) && a.kind == b.kind && jinja_deeper(in)) {
        size_t n = a.l->n < b.l->n ? a.l->n : b.l->n, i = 0;
        while (i < n && !in->failed && jv_equal(in, a.l->v[i], b.l->v[i]))
            i++;
        int c =
            i < n ? jv_order(in, a.l->v[i], b.l->v[i], op) : (a.l->n > b.l->n) - (a.l->n < b.l->n);
        in->depth--;
        return c;
    }
    if (a.kind == V_UNDEF || b.kind == V_UNDEF)
        jinja_undefined(in, (a.kind == V_UNDEF ? a : b));
    else
        jinja_fail(in, "TypeError: '%s' not supported between instances of '%s' and '%s'", op,
                   jv_type(a), jv_type(b));
    return 0;
}

void jv_set_text(struct jvalue v, struct jtext *text) {
    if (v.kind == V_LIST)
        v.l->as_text = text;
    else if (v.kind == V_DICT)
        v.d->as_text = text;
}

struct jtext *jv_own_text(struct jvalue v) {
    return v.kind == V_LIST ? v.l->as_text : v.kind == V_DICT ? v.d->as_text : NULL;
}
