/* Filters on lists, dicts and other containers that return their result at once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/filter.h"

JINJA_FILTER(jf_first) {
    struct jiter it;
    struct jvalue v;
    (void)a;
    if (!jinja_iter(in, self, &it))
        return jv_none();
    return jinja_next(in, &it, &v)
               ? v
               : jv_undef(in, "No first item, sequence was empty.", "", str_of(""));
}

JINJA_FILTER(jf_last) {
    struct jvalue list;
    (void)a;
    if (self.kind == V_GEN)
        return jinja_fail(in, "TypeError: '%s' object is not reversible", jv_type(self));
    list = jinja_to_list(in, self, V_LIST);
    return list.l->n ? list.l->v[list.l->n - 1]
                     : jv_undef(in, "No last item, sequence was empty.", "", str_of(""));
}

JINJA_FILTER(jf_length) {
    int64_t n;
    (void)a;
    if (!jv_len(in, self, &n))
        return jinja_fail(in, "TypeError: object of type '%s' has no len()", jv_type(self));
    return jv_int(n);
}

JINJA_FILTER(jf_list) {
    (void)a;
    return jinja_to_list(in, self, V_LIST);
}

JINJA_FILTER(jf_join) {
    struct jiter it;
    struct jvalue v;
    struct jtext *sep =
        a[0].kind == V_MISSING ? jt_new(in, str_of(""), TRUST_ALL) : jv_to_str(in, a[0]);
    struct jbuild b;
    jb_init(&b, in, 64);
    if (!jinja_iter(in, self, &it))
        return jv_none();
    for (bool first = true; jinja_next(in, &it, &v); first = false) {
        if (!first)
            jb_text(&b, sep);
        if (a[1].kind != V_MISSING)
            v = jinja_path(in, v, a[1], jv_none());
        if (!in->failed)
            jb_text(&b, jv_to_str(in, v));
    }
    return jv_text(jb_done(&b));
}

JINJA_FILTER(jf_reverse) {
    (void)a;
    if (!jv_is_str(self)) {
        if (self.kind != V_GEN)
            return jinja_reversed(in, self);
        struct jvalue list = jinja_to_list(in, self, V_LIST);
        return jinja_to_list(in, jinja_reversed(in, list), V_LIST);
    }
    const struct jvalue backwards[3] = {jv_none(), jv_none(), jv_int(-1)};
    return jinja_slice(in, self, backwards);
}

/* Strings compare by their lower case unless case_sensitive is set. */
static struct jvalue fold(struct jinja *in, struct jvalue v, bool case_sensitive) {
    return jv_is_str(v) && !case_sensitive ? jv_text(jinja_lower(in, v.s)) : v;
}

static struct jvalue key_of(struct jinja *in, struct jvalue v, struct jvalue attribute,
                            struct jvalue otherwise, bool sensitive) {
    if (attribute.kind != V_MISSING)
        v = jinja_path(in, v, attribute, otherwise);
    return in->failed ? jv_none() : fold(in, v, sensitive);
}

/* The sort key: a list of the values of the attributes "a,b.c". */
static struct jvalue sort_key(struct jinja *in, struct jvalue v, struct jvalue attribute,
                              bool sensitive) {
    struct jvalue key = jv_list(in, V_LIST, 1);
    if (attribute.kind == V_MISSING || attribute.kind == V_NONE || !jv_is_str(attribute)) {
        jv_push(in, key.l, key_of(in, v, attribute, jv_none(), sensitive));
        return key;
    }
    const struct jtext *t = attribute.s;
    for (size_t from = 0, to; from <= t->n && !in->failed; from = to + 1) {
        to = jt_find(in, t, str_of(","), from, t->n);
        to = to == SIZE_MAX ? t->n : to;
        jv_push(in, key.l, key_of(in, v, jv_text(jt_slice(in, t, from, to)), jv_none(), sensitive));
    }
    return key;
}

static struct jvalue sorted(struct jinja *in, struct jvalue self, struct jvalue attribute,
                            bool sensitive, bool reverse) {
    struct jvalue list = jinja_to_list(in, self, V_LIST), keys = jv_list(in, V_LIST, 0);
    for (size_t i = 0; i < list.l->n && !in->failed; i++)
        jv_push(in, keys.l, sort_key(in, list.l->v[i], attribute, sensitive));
    if (!in->failed)
        jinja_sort(in, list.l->v, keys.l->v, list.l->n, reverse);
    return list;
}

JINJA_FILTER(jf_sort) {
    return sorted(in, self, a[2], jinja_arg_bool(in, a[1], false), jinja_arg_bool(in, a[0], false));
}

JINJA_FILTER(jf_dictsort) {
    struct jtext *by = jinja_arg_str(in, a[1], "key");
    bool value = str_eq(jt_view(by), "value");
    if (self.kind != V_DICT)
        return self.kind == V_UNDEF
                   ? jinja_undefined(in, self)
                   : jinja_fail(in, "AttributeError: '%s' object has no attribute 'items'",
                                jv_type(self));
    if (!value && !str_eq(jt_view(by), "key"))
        return jinja_fail(in,
                          "FilterArgumentError: You can only sort by either \"key\" or \"value\"");
    self.kind = V_VIEW;
    self.sub = VIEW_ITEMS;
    return sorted(in, self, jv_int(value), jinja_arg_bool(in, a[0], false),
                  jinja_arg_bool(in, a[2], false));
}

JINJA_FILTER(jf_groupby) {
    bool sensitive = jinja_arg_bool(in, a[2], false);
    struct jvalue list = jinja_to_list(in, self, V_LIST), keys = jv_list(in, V_LIST, 0),
                  out = jv_list(in, V_LIST, 0);
    for (size_t i = 0; i < list.l->n && !in->failed; i++)
        jv_push(in, keys.l, key_of(in, list.l->v[i], a[0], a[1], sensitive));
    if (!in->failed)
        jinja_sort(in, list.l->v, keys.l->v, list.l->n, false);
    struct jvalue last = {.kind = V_MISSING};
    struct jlist *group = NULL;
    for (size_t i = 0; i < list.l->n && !in->failed; i++) {
        struct jvalue key = key_of(in, list.l->v[i], a[0], a[1], sensitive);
        if (last.kind == V_MISSING || !jv_equal(in, key, last)) {
            struct jvalue items = jv_list(in, V_LIST, 0);
            struct jvalue pair = jv_pair(in, key_of(in, list.l->v[i], a[0], a[1], true), items);
            pair.sub = TUPLE_GROUP;
            jv_push(in, out.l, pair);
            group = items.l;
            last = key;
        }
        jv_push(in, group, list.l->v[i]);
    }
    return out;
}

static struct jvalue extreme(struct jinja *in, struct jvalue self, const struct jvalue *a,
                             const char *op) {
    bool sensitive = jinja_arg_bool(in, a[0], false);
    struct jiter it;
    struct jvalue v, best = {.kind = V_MISSING}, best_key = best;
    if (!jinja_iter(in, self, &it))
        return jv_none();
    while (jinja_next(in, &it, &v)) {
        struct jvalue key = key_of(in, v, a[1], jv_none(), sensitive);
        int c = best.kind == V_MISSING ? 0 : jv_order(in, key, best_key, op);
        if (best.kind == V_MISSING || (*op == '<' ? c < 0 : c == 1 || (c > 0 && c != 2))) {
            best = v;
            best_key = key;
        }
    }
    return best.kind == V_MISSING
               ? jv_undef(in, "No aggregated item, sequence was empty.", "", str_of(""))
               : best;
}

JINJA_FILTER(jf_min) {
    return extreme(in, self, a, "<");
}

JINJA_FILTER(jf_max) {
    return extreme(in, self, a, ">");
}

JINJA_FILTER(jf_sum) {
    struct jiter it;
    struct jvalue v, sum = a[1].kind == V_MISSING ? jv_int(0) : a[1];
    if (jv_is_str(sum))
        return jinja_fail(in, "TypeError: sum() can't sum strings [use ''.join(seq) instead]");
    if (!jinja_iter(in, self, &it))
        return jv_none();
    while (jinja_next(in, &it, &v)) {
        if (a[0].kind != V_MISSING && a[0].kind != V_NONE)
            v = jinja_path(in, v, a[0], jv_none());
        if (!in->failed)
            sum = jinja_binary(in, T_ADD, sum, v);
    }
    return sum;
}
