/* The functions that every template can call: jinja2's range, dict, namespace, cycler and joiner,
 * and transformers' raise_exception and strftime_now (strftime.c). lipsum is left out, because
 * random text has no use in a prompt.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/run.h"

static struct jvalue do_range(struct jinja *in, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS];
    const int64_t far = (int64_t)1 << 60;
    if (a->n_kw) {
        return jinja_fail(in, "TypeError: range() takes no keyword arguments");
    }
    if (!jinja_bind(in, "range", "start stop step", 1, a, v))
        return jv_none();
    struct jrange *r = jinja_alloc(in, sizeof *r);
    r->start = a->n > 1 ? jinja_arg_int(in, v[0], 0) : 0;
    r->stop = jinja_arg_int(in, v[a->n > 1], 0);
    r->step = jinja_arg_int(in, v[2], 1);
    if (r->step == 0)
        return jinja_fail(in, "ValueError: range() arg 3 must not be zero");
    if (r->start > far || r->start < -far || r->stop > far || r->stop < -far || r->step > far ||
        r->step < -far)
        return jinja_fail(in, "OverflowError: range() arguments are too large");
    int64_t gap = r->step > 0 ? r->stop - r->start : r->start - r->stop,
            step = r->step > 0 ? r->step : -r->step;
    r->n = gap > 0 ? (gap - 1) / step + 1 : 0;
    if (r->n > JINJA_MAX_RANGE)
        return jinja_fail(in,
                          "OverflowError: Range too big. The sandbox blocks ranges larger than %d.",
                          JINJA_MAX_RANGE);
    return (struct jvalue){.kind = V_RANGE, .range = r};
}

/* dict(mapping or pairs, **members). */
static struct jvalue do_dict(struct jinja *in, const struct jargs *a) {
    struct jvalue d = jv_dict(in), v;
    struct jiter it;
    if (a->n > 1)
        return jinja_fail(in, "TypeError: dict expected at most 1 argument, got %zu", a->n);
    if (a->n && a->pos[0].kind == V_DICT) {
        for (size_t i = 0; i < a->pos[0].d->n; i++)
            jv_put(in, d.d, a->pos[0].d->pairs[i].key, a->pos[0].d->pairs[i].value);
    } else if (a->n && jinja_iter(in, a->pos[0], &it)) {
        while (jinja_next(in, &it, &v)) {
            struct jvalue pair = jinja_to_list(in, v, V_TUPLE);
            if (in->failed || pair.l->n != 2)
                return jinja_fail(in,
                                  "ValueError: dictionary update sequence element is not a pair");
            if (!jv_hashable(in, pair.l->v[0]))
                return jv_none();
            jv_put(in, d.d, pair.l->v[0], pair.l->v[1]);
        }
    }
    for (size_t i = 0; i < a->n_kw; i++)
        jv_put(in, d.d, jv_text(jt_new(in, a->names[i], TRUST_ALL)), a->kw[i]);
    return d;
}

static struct jvalue do_namespace(struct jinja *in, const struct jargs *a) {
    struct jvalue d = do_dict(in, a);
    for (size_t i = 0; !in->failed && i < d.d->n; i++) {
        struct jvalue key = d.d->pairs[i].key;
        if (jv_is_str(key) && key.s->n && key.s->p[0] == '_')
            return jinja_fail(
                in, "SecurityError: a namespace takes no attribute that begins with an underscore");
    }
    d.kind = V_NAMESPACE;
    return d;
}

static struct jvalue do_cycler(struct jinja *in, const struct jargs *a) {
    struct jvalue items = jv_list(in, V_LIST, a->n);
    if (a->n == 0)
        return jinja_fail(in, "RuntimeError: at least one item has to be provided");
    for (size_t i = 0; i < a->n; i++)
        jv_push(in, items.l, a->pos[i]);
    struct jcycle *c = jinja_alloc(in, sizeof *c);
    c->items = items.l;
    return (struct jvalue){.kind = V_CYCLER, .cycle = c};
}

static struct jvalue do_joiner(struct jinja *in, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS], items = jv_list(in, V_LIST, 1);
    if (!jinja_bind(in, "joiner", "sep", 0, a, v))
        return jv_none();
    jv_push(in, items.l, v[0].kind == V_MISSING ? jv_str(in, ", ") : v[0]);
    struct jcycle *c = jinja_alloc(in, sizeof *c);
    c->items = items.l;
    return (struct jvalue){.kind = V_JOINER, .cycle = c};
}

static struct jvalue do_raise(struct jinja *in, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS];
    if (!jinja_bind(in, "raise_exception", "message", 1, a, v))
        return jv_none();
    struct jtext *t = jv_to_str(in, v[0]);
    return jinja_fail(in, "%.*s", t->n > 700 ? 700 : (int)t->n, t->p);
}

const struct jfunction jinja_functions[] = {
    {"range", do_range},
    {"dict", do_dict},
    {"namespace", do_namespace},
    {"cycler", do_cycler},
    {"joiner", do_joiner},
    {"raise_exception", do_raise},
    {"strftime_now", jinja_strftime_now},
    {NULL, NULL},
};
