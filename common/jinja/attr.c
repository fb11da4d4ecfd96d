/* x.name and x[key], as jinja2's ImmutableSandboxedEnvironment finds them.
 *
 * x.name is a method or attribute first and an item second; x[key] is the other way round. Only the
 * attributes in these tables exist. A method that would change a list or dict, and a name with an
 * underscore in front, give an undefined value. Using that value is a SecurityError.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/num.h"
#include "jinja/run.h"

static struct jvalue missing(void) {
    return (struct jvalue){.kind = V_MISSING};
}

static struct jvalue unsafe(struct jinja *in, struct jvalue obj, struct str name) {
    return jv_undef(in, "SecurityError: access to attribute '#' of '@' object is unsafe.",
                    jv_type(obj), name);
}

/* Whether the method would change its object. */
static bool mutates(enum jkind kind, struct str name) {
    static const char *const of_list[] = {"append", "clear",  "pop",    "reverse", "insert",
                                          "sort",   "extend", "remove", NULL};
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    const char *const *names = kind == V_LIST ? of_list : kind == V_DICT ? of_dict : NULL;
    for (; names && *names; names++)
        if (str_eq(name, *names))
            return true;
    return false;
}

static struct jvalue range_attr(const struct jrange *r, struct str name) {
    if (str_eq(name, "start"))
        return jv_int(r->start);
    if (str_eq(name, "stop"))
        return jv_int(r->stop);
    return str_eq(name, "step") ? jv_int(r->step) : missing();
}

static struct jvalue number_attr(struct jvalue v, struct str name) {
    if (str_eq(name, "real") || (str_eq(name, "numerator") && v.kind != V_FLOAT))
        return v;
    if (str_eq(name, "imag"))
        return v.kind == V_FLOAT ? jv_float(0) : jv_int(0);
    return str_eq(name, "denominator") && v.kind != V_FLOAT ? jv_int(1) : missing();
}

static struct jvalue macro_attr(struct jinja *in, const struct jmacro *m, struct str name) {
    if (str_eq(name, "name"))
        return jv_text(jt_new(in, m->node->name, TRUST_ALL));
    if (str_eq(name, "caller"))
        return jv_bool(m->node->flag & MACRO_CALLER);
    if (str_eq(name, "catch_kwargs"))
        return jv_bool(m->node->flag & MACRO_KWARGS);
    if (str_eq(name, "catch_varargs"))
        return jv_bool(m->node->flag & MACRO_VARARGS);
    if (!str_eq(name, "arguments"))
        return missing();
    struct jvalue names = jv_list(in, V_TUPLE, 0);
    for (uint32_t i = 1; i < m->node->n_kids; i++)
        jv_push(in, names.l, jv_text(jt_new(in, m->node->kids[i]->name, TRUST_ALL)));
    return names;
}

static struct jvalue bind_method(struct jinja *in, struct jvalue self,
                                 const struct jmethod_info *m) {
    struct jmethod *bound = jinja_alloc(in, sizeof *bound);
    *bound = (struct jmethod){.self = self, .info = m};
    return (struct jvalue){.kind = V_METHOD, .method = bound};
}

/* An attribute of the type dict: dict.fromkeys, or a method whose first argument is the dict. */
static struct jvalue type_attr(struct jinja *in, const struct jfunction *f, struct str name) {
    const struct jmethod_info *m =
        strcmp(f->name, "dict") == 0 ? jinja_data_method(V_DICT, name) : NULL;
    struct jvalue self = str_eq(name, "fromkeys") ? jv_dict(in) : missing();
    return m ? bind_method(in, self, m) : missing();
}

/* Python's getattr. V_MISSING if there is no such attribute. */
static struct jvalue attribute(struct jinja *in, struct jvalue obj, struct str name) {
    struct jvalue *v, found = missing();
    const struct jmethod_info *m = NULL;
    switch (obj.kind) {
    case V_NAMESPACE:
        v = jv_get_str(in, obj.d, name);
        return v ? *v : missing();
    case V_LOOP:
        found = jinja_loop_attr(in, obj.loop, name);
        break;
    case V_MACRO:
        return macro_attr(in, obj.macro, name);
    case V_FUNCTION:
        return type_attr(in, obj.function, name);
    case V_RANGE:
        found = range_attr(obj.range, name);
        break;
    case V_BOOL:
    case V_INT:
    case V_FLOAT:
        found = number_attr(obj, name);
        break;
    case V_TUPLE:
        if (obj.sub == TUPLE_GROUP && (str_eq(name, "grouper") || str_eq(name, "list")))
            return obj.l->v[name.n == 4];
        break;
    case V_CYCLER:
        if (str_eq(name, "current"))
            return obj.cycle->items->v[obj.cycle->pos];
        break;
    default:
        break;
    }
    if (found.kind != V_MISSING)
        return found;
    if (mutates((enum jkind)obj.kind, name))
        return unsafe(in, obj, name);
    m = obj.kind == V_STR ? jinja_str_method(name) : jinja_data_method((enum jkind)obj.kind, name);
    return m ? bind_method(in, obj, m) : missing();
}

struct jvalue jinja_subscript(struct jinja *in, struct jvalue obj, struct jvalue key, bool *found) {
    int64_t i, n = 0;
    struct jvalue *v;
    *found = false;
    if (obj.kind == V_DICT) {
        if (key.kind == V_LIST || key.kind == V_DICT || key.kind == V_VIEW || key.kind == V_TUPLE)
            for (size_t k = 0; k < obj.d->n && key.kind == V_TUPLE; k++)
                if (jv_equal(in, obj.d->pairs[k].key, key)) {
                    *found = true;
                    return obj.d->pairs[k].value;
                }
        if (key.kind == V_LIST || key.kind == V_DICT || key.kind == V_VIEW || key.kind == V_TUPLE)
            return missing();
        v = jv_get(in, obj.d, key);
        *found = v != NULL;
        return v ? *v : missing();
    }
    bool sequence =
        obj.kind == V_LIST || obj.kind == V_TUPLE || obj.kind == V_STR || obj.kind == V_RANGE;
    if (!sequence || !jv_int_of(key, &i))
        return missing();
    jv_len(in, obj, &n);
    i = i < 0 ? i + n : i;
    if (i < 0 || i >= n)
        return missing();
    *found = true;
    if (obj.kind == V_RANGE)
        return jv_int(obj.range->start + i * obj.range->step);
    if (obj.kind != V_STR)
        return obj.l->v[i];
    size_t at = jt_byte_at(in, obj.s, (size_t)i), len;
    jt_decode(obj.s, at, &len);
    return jv_text(jt_slice(in, obj.s, at, at + len));
}

static struct jvalue no_attribute(struct jinja *in, struct jvalue obj, struct str name) {
    bool none = obj.kind == V_NONE;
    return jv_undef(in, none ? "'@' has no attribute '#'" : "'@ object' has no attribute '#'",
                    none ? "None" : jv_type(obj), name);
}

static struct jvalue no_element(struct jinja *in, struct jvalue obj, struct jvalue key) {
    return jv_undef(in, "@ object has no element #", jv_type(obj), jt_view(jv_repr(in, key)));
}

static bool is_undefined(struct jinja *in, struct jvalue obj) {
    if (obj.kind != V_UNDEF)
        return false;
    jinja_undefined(in, obj);
    return true;
}

static struct jvalue neither(struct jinja *in, struct jvalue obj, struct str name) {
    const struct jmethod_info *m = jv_own_text(obj) ? jinja_str_method(name) : NULL;
    if (m)
        return bind_method(in, jv_text(jv_own_text(obj)), m);
    bool internal = name.n > 1 && name.p[0] == '_' && name.p[1] == '_';
    return internal ? unsafe(in, obj, name) : no_attribute(in, obj, name);
}

struct jvalue jinja_getattr(struct jinja *in, struct jvalue obj, struct str name) {
    bool found;
    if (is_undefined(in, obj))
        return jv_none();
    struct jvalue v = attribute(in, obj, name);
    if (v.kind != V_MISSING || in->failed)
        return v;
    struct jtext key = {.p = name.p, .n = name.n};
    v = jinja_subscript(in, obj, jv_text(&key), &found);
    return found ? v : neither(in, obj, name);
}

struct jvalue jinja_getitem(struct jinja *in, struct jvalue obj, struct jvalue key) {
    bool found;
    if (is_undefined(in, obj))
        return jv_none();
    struct jvalue v = jinja_subscript(in, obj, key, &found);
    if (found || in->failed)
        return v;
    if (!jv_is_str(key))
        return no_element(in, obj, key);
    v = attribute(in, obj, jt_view(key.s));
    return v.kind != V_MISSING ? v : neither(in, obj, jt_view(key.s));
}

struct jvalue jinja_path(struct jinja *in, struct jvalue obj, struct jvalue path,
                         struct jvalue otherwise) {
    if (path.kind == V_NONE)
        return obj;
    if (!jv_is_str(path))
        return jinja_getitem(in, obj, path);
    size_t from = 0;
    struct str s = jt_view(path.s);
    while (from <= s.n && !in->failed) {
        size_t to = jt_find(in, path.s, str_of("."), from, s.n);
        to = to == SIZE_MAX ? s.n : to;
        int64_t i;
        struct str part = {s.p + from, to - from};
        struct jvalue key = jv_text(jt_slice(in, path.s, from, to));
        bool digits = part.n && part.p[0] != '-' && parse_i64(part, 0, INT64_MAX, &i);
        obj = jinja_getitem(in, obj, digits ? jv_int(i) : key);
        if (obj.kind == V_UNDEF && otherwise.kind != V_MISSING && otherwise.kind != V_NONE)
            obj = otherwise;
        from = to + 1;
    }
    return obj;
}
