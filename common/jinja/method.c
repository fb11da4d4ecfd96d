/* Methods of lists, tuples, dicts, ranges, numbers, loops and cyclers. None changes anything
 * outside the rendering. The methods of strings are in str.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "jinja/run.h"

static struct jvalue view(struct jvalue self, enum jview which) {
    self.kind = V_VIEW;
    self.sub = (uint8_t)which;
    return self;
}

static struct jvalue dict_keys(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)in, (void)a;
    return view(self, VIEW_KEYS);
}

static struct jvalue dict_values(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)in, (void)a;
    return view(self, VIEW_VALUES);
}

static struct jvalue dict_items(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)in, (void)a;
    return view(self, VIEW_ITEMS);
}

static struct jvalue dict_get(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    if (!jv_hashable(in, a[0]))
        return jv_none();
    struct jvalue *v = jv_get(in, self.d, a[0]);
    return v ? *v : a[1].kind == V_MISSING ? jv_none() : a[1];
}

static struct jvalue dict_copy(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)a;
    struct jvalue d = jv_dict(in);
    for (size_t i = 0; i < self.d->n && !in->failed; i++)
        jv_put(in, d.d, self.d->pairs[i].key, self.d->pairs[i].value);
    d.foreign = self.foreign;
    return d;
}

static struct jvalue dict_fromkeys(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    struct jiter it;
    struct jvalue d = jv_dict(in), key;
    (void)self;
    if (jinja_iter(in, a[0], &it))
        while (jinja_next(in, &it, &key) && jv_hashable(in, key))
            jv_put(in, d.d, key, a[1].kind == V_MISSING ? jv_none() : a[1]);
    return d;
}

static struct jvalue seq_count(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    struct jiter it;
    struct jvalue v;
    int64_t n = 0;
    jinja_iter(in, self, &it);
    while (jinja_next(in, &it, &v))
        n += jv_equal(in, v, a[0]);
    return jv_int(n);
}

static struct jvalue seq_index(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    struct jiter it;
    struct jvalue v;
    int64_t n = 0;
    jv_len(in, self, &n);
    int64_t from = jinja_arg_int(in, a[1], 0), to = jinja_arg_int(in, a[2], n);
    from = from < 0 ? from + n : from;
    to = to < 0 ? to + n : to;
    jinja_iter(in, self, &it);
    for (int64_t i = 0; jinja_next(in, &it, &v); i++)
        if (i >= from && i < to && jv_equal(in, v, a[0]))
            return jv_int(i);
    return jinja_fail(in, "ValueError: the value is not in the %s", jv_type(self));
}

static struct jvalue list_copy(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)a;
    return jinja_to_list(in, self, V_LIST);
}

static struct jvalue bit_length(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)in, (void)a;
    int64_t i = 0, n = 0;
    jv_int_of(self, &i);
    for (uint64_t v = i < 0 ? -(uint64_t)i : (uint64_t)i; v; v >>= 1)
        n++;
    return jv_int(n);
}

static struct jvalue is_integer(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)in, (void)a;
    return jv_bool(isfinite(self.f) && self.f == floor(self.f));
}

static struct jvalue loop_cycle(struct jinja *in, struct jvalue self, const struct jargs *a) {
    if (a->n == 0)
        return jinja_fail(in, "TypeError: no items for cycling given");
    return a->pos[(size_t)self.loop->index0 % a->n];
}

static struct jvalue loop_changed(struct jinja *in, struct jvalue self, const struct jargs *a) {
    struct jvalue now = jv_list(in, V_TUPLE, a->n);
    for (size_t i = 0; i < a->n; i++)
        jv_push(in, now.l, a->pos[i]);
    if (self.loop->changed.kind != V_MISSING && jv_equal(in, self.loop->changed, now))
        return jv_bool(false);
    self.loop->changed = now;
    return jv_bool(true);
}

static struct jvalue cycler_next(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)in, (void)a;
    struct jvalue v = self.cycle->items->v[self.cycle->pos];
    self.cycle->pos = (self.cycle->pos + 1) % self.cycle->items->n;
    return v;
}

static struct jvalue cycler_reset(struct jinja *in, struct jvalue self, const struct jvalue *a) {
    (void)in, (void)a;
    self.cycle->pos = 0;
    return jv_none();
}

static const struct jmethod_info of_dict[] = {
    {"get", "key default", 1, dict_get, NULL},
    {"items", "", 0, dict_items, NULL},
    {"keys", "", 0, dict_keys, NULL},
    {"values", "", 0, dict_values, NULL},
    {"copy", "", 0, dict_copy, NULL},
    {"fromkeys", "iterable value", 1, dict_fromkeys, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
static const struct jmethod_info of_list[] = {
    {"count", "value", 1, seq_count, NULL},
    {"index", "value start stop", 1, seq_index, NULL},
    {"copy", "", 0, list_copy, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
static const struct jmethod_info of_tuple[] = {
    {"count", "value", 1, seq_count, NULL},
    {"index", "value start stop", 1, seq_index, NULL},
    {NULL, NULL, 0, NULL, NULL},
};
static const struct jmethod_info of_int[] = {{"bit_length", "", 0, bit_length, NULL},
                                             {NULL, NULL, 0, NULL, NULL}};
static const struct jmethod_info of_float[] = {{"is_integer", "", 0, is_integer, NULL},
                                               {NULL, NULL, 0, NULL, NULL}};
static const struct jmethod_info of_loop[] = {
    {"cycle", NULL, 0, NULL, loop_cycle},
    {"changed", NULL, 0, NULL, loop_changed},
    {NULL, NULL, 0, NULL, NULL},
};
static const struct jmethod_info of_cycler[] = {
    {"next", "", 0, cycler_next, NULL},
    {"reset", "", 0, cycler_reset, NULL},
    {NULL, NULL, 0, NULL, NULL},
};

const struct jmethod_info *jinja_data_method(enum jkind kind, struct str name) {
    const struct jmethod_info *m;
    switch (kind) {
    case V_DICT:
        m = of_dict;
        break;
    case V_LIST:
        m = of_list;
        break;
    case V_TUPLE:
    case V_RANGE:
        m = of_tuple;
        break;
    case V_INT:
    case V_BOOL:
        m = of_int;
        break;
    case V_FLOAT:
        m = of_float;
        break;
    case V_LOOP:
        m = of_loop;
        break;
    case V_CYCLER:
        m = of_cycler;
        break;
    default:
        return NULL;
    }
    for (; m->name; m++)
        if (str_eq(name, m->name))
            return m;
    return NULL;
}
