/* Filters that return a generator: `messages|selectattr("role", "eq", "user")`. Each item is made
 * when it is needed, and once.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/filter.h"

/* Begins the pass over the source. As in jinja2, a false source of any type has no items. */
static bool start(struct jinja *in, struct jgen *g, bool skip_false) {
    if (g->started)
        return true;
    g->started = true;
    if (skip_false && !jv_truth(in, g->src.src))
        return false;
    return jinja_iter(in, g->src.src, &g->src);
}

static bool next_item(struct jinja *in, struct jgen *g, struct jvalue *v) {
    if (!g->started && g->src.src.kind == V_UNDEF)
        return false;
    if (!g->started && g->src.src.kind != V_DICT) {
        jinja_fail(in, "TypeError: Can only get item pairs from a mapping.");
        return false;
    }
    if (!g->started) {
        g->src.src.kind = V_VIEW;
        g->src.src.sub = VIEW_ITEMS;
    }
    return start(in, g, false) && jinja_next(in, &g->src, v);
}

JINJA_FILTER(jf_items) {
    (void)a;
    return jinja_gen(in, "generator", next_item, self);
}

/* state: [0] the keys seen, [1] the attribute, [2] case_sensitive */
static bool next_unique(struct jinja *in, struct jgen *g, struct jvalue *v) {
    if (!start(in, g, false))
        return false;
    while (jinja_next(in, &g->src, v)) {
        struct jvalue key =
            g->state[1].kind == V_MISSING ? *v : jinja_path(in, *v, g->state[1], jv_none());
        if (!in->failed && jv_is_str(key) && !g->state[2].b)
            key = jv_text(jinja_lower(in, key.s));
        if (in->failed || !jv_hashable(in, key))
            return false;
        if (jv_get(in, g->state[0].d, key))
            continue;
        jv_put(in, g->state[0].d, key, jv_none());
        return true;
    }
    return false;
}

JINJA_FILTER(jf_unique) {
    struct jvalue v = jinja_gen(in, "generator", next_unique, self);
    v.gen->state[0] = jv_dict(in);
    v.gen->state[1] = a[1];
    v.gen->state[2] = jv_bool(jinja_arg_bool(in, a[0], false));
    return v;
}

/* count: items per line; state: [0] fills the last line */
static bool next_batch(struct jinja *in, struct jgen *g, struct jvalue *v) {
    struct jvalue item;
    bool first = !g->started;
    if (!start(in, g, false))
        return false;
    *v = jv_list(in, V_LIST, 0);
    if (first && g->count == 0) // a line of 0 items is full at once
        return true;
    while (((int64_t)v->l->n < g->count || g->count <= 0) && jinja_next(in, &g->src, &item))
        jv_push(in, v->l, item);
    if (v->l->n == 0)
        return false;
    while ((int64_t)v->l->n < g->count && g->state[0].kind != V_MISSING &&
           g->state[0].kind != V_NONE && jinja_steps(in, 1))
        jv_push(in, v->l, g->state[0]);
    return true;
}

JINJA_FILTER(jf_batch) {
    struct jvalue v = jinja_gen(in, "generator", next_batch, self);
    v.gen->count = jinja_arg_int(in, a[0], 0);
    v.gen->state[0] = a[1];
    return v;
}

/* count: slices; state: [0] fill_with, [1] the whole list, [2] the next slice's number, [3] its
 * start */
static bool next_slice(struct jinja *in, struct jgen *g, struct jvalue *v) {
    int64_t i = g->state[2].i, from = g->state[3].i;
    if (!g->started)
        g->state[1] = jinja_to_list(in, g->src.src, V_LIST);
    g->started = true;
    if (!in->failed && g->count == 0)
        jinja_fail(in, "ZeroDivisionError: integer division or modulo by zero");
    if (in->failed || i >= g->count)
        return false;
    const struct jlist *all = g->state[1].l;
    int64_t n = (int64_t)all->n / g->count, extra = (int64_t)all->n % g->count,
            to = from + n + (i < extra);
    *v = jv_list(in, V_LIST, 0);
    for (int64_t k = from; k < to; k++)
        jv_push(in, v->l, all->v[k]);
    if (i >= extra && g->state[0].kind != V_MISSING && g->state[0].kind != V_NONE)
        jv_push(in, v->l, g->state[0]);
    g->state[2].i = i + 1;
    g->state[3].i = to;
    return true;
}

JINJA_FILTER(jf_slice) {
    struct jvalue v = jinja_gen(in, "generator", next_slice, self);
    v.gen->count = jinja_arg_int(in, a[0], 1);
    v.gen->state[0] = a[1];
    v.gen->state[2] = v.gen->state[3] = jv_int(0);
    return v;
}

/* Returns the arguments without the first `skip` positional ones. */
static struct jargs rest_of(const struct jargs *a, size_t skip) {
    struct jargs rest = *a;
    rest.pos += skip;
    rest.n -= skip;
    return rest;
}

static struct jvalue keyword(const struct jargs *a, const char *name) {
    for (size_t i = 0; i < a->n_kw; i++)
        if (str_eq(a->names[i], name))
            return a->kw[i];
    return (struct jvalue){.kind = V_MISSING};
}

static bool next_mapped(struct jinja *in, struct jgen *g, struct jvalue *v) {
    if (!g->started && !jv_truth(in, g->src.src))
        return false;
    struct jvalue attribute = keyword(&g->args, "attribute"),
                  otherwise = keyword(&g->args, "default");
    bool by_attribute = g->args.n == 0 && attribute.kind != V_MISSING;
    if (!g->started && !by_attribute && g->args.n == 0)
        jinja_fail(in, "FilterArgumentError: map requires a filter argument");
    if (!g->started && by_attribute && g->args.n_kw > 1 + (otherwise.kind != V_MISSING))
        jinja_fail(in, "FilterArgumentError: Unexpected keyword argument");
    if (in->failed || !start(in, g, true) || !jinja_next(in, &g->src, v))
        return false;
    if (by_attribute) {
        *v = jinja_path(in, *v, attribute, otherwise);
        return !in->failed;
    }
    struct jargs rest = rest_of(&g->args, 1);
    struct jtext *name = jinja_arg_str(in, g->args.pos[0], "");
    *v = in->failed ? jv_none() : jinja_call_filter(in, jt_view(name), *v, &rest);
    return !in->failed;
}

JINJA_FILTER_ARGS(jf_map) {
    struct jvalue v = jinja_gen(in, "generator", next_mapped, self);
    v.gen->args = *a;
    return v;
}

enum { BY_ATTRIBUTE = 1, REJECT = 2 };

/* count: BY_ATTRIBUTE and REJECT bits */
static bool next_selected(struct jinja *in, struct jgen *g, struct jvalue *v) {
    size_t by_attribute = (g->count & BY_ATTRIBUTE) != 0;
    if (!g->started && !jv_truth(in, g->src.src))
        return false;
    if (!g->started && g->args.n < by_attribute)
        jinja_fail(in, "FilterArgumentError: Missing parameter for attribute name");
    if (in->failed || !start(in, g, true))
        return false;
    while (jinja_next(in, &g->src, v)) {
        struct jvalue what = by_attribute ? jinja_path(in, *v, g->args.pos[0], jv_none()) : *v;
        bool holds;
        if (in->failed)
            return false;
        if (g->args.n > by_attribute) {
            struct jargs rest = rest_of(&g->args, by_attribute + 1);
            struct jtext *name = jinja_arg_str(in, g->args.pos[by_attribute], "");
            holds = !in->failed && jinja_call_test(in, jt_view(name), what, &rest);
        } else {
            holds = jv_truth(in, what);
        }
        if (holds != ((g->count & REJECT) != 0))
            return !in->failed;
    }
    return false;
}

static struct jvalue select(struct jinja *in, struct jvalue self, const struct jargs *a,
                            int64_t how) {
    struct jvalue v = jinja_gen(in, "generator", next_selected, self);
    v.gen->args = *a;
    v.gen->count = how;
    return v;
}

JINJA_FILTER_ARGS(jf_select) {
    return select(in, self, a, 0);
}

JINJA_FILTER_ARGS(jf_reject) {
    return select(in, self, a, REJECT);
}

JINJA_FILTER_ARGS(jf_selectattr) {
    return select(in, self, a, BY_ATTRIBUTE);
}

JINJA_FILTER_ARGS(jf_rejectattr) {
    return select(in, self, a, BY_ATTRIBUTE | REJECT);
}
