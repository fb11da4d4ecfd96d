/* Calls: how arguments are assigned to parameters, and how each kind of callable is called.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/run.h"

static struct jvalue missing(void) {
    return (struct jvalue){.kind = V_MISSING};
}

/* Returns the index of name in params, or SIZE_MAX. *count is the number of parameters. */
static size_t param_index(const char *params, struct str name, size_t *count) {
    size_t i = 0, found = SIZE_MAX;
    for (const char *p = params; *p; i++) {
        size_t n = strcspn(p, " ");
        if (n == name.n && memcmp(p, name.p, n) == 0)
            found = i;
        p += n;
        p += *p == ' ';
    }
    *count = i;
    return found;
}

bool jinja_bind(struct jinja *in, const char *who, const char *params, size_t min,
                const struct jargs *a, struct jvalue out[JINJA_MAX_PARAMS]) {
    size_t count;
    param_index(params, str_of(""), &count);
    for (size_t i = 0; i < JINJA_MAX_PARAMS; i++)
        out[i] = i < a->n ? a->pos[i] : missing();
    if (a->n > count) {
        jinja_fail(in, "TypeError: %s takes at most %zu argument(s) but %zu were given", who, count,
                   a->n);
        return false;
    }
    for (size_t i = 0; i < a->n_kw; i++) {
        size_t at = param_index(params, a->names[i], &count);
        int n = a->names[i].n > 60 ? 60 : (int)a->names[i].n;
        if (at == SIZE_MAX || out[at].kind != V_MISSING) {
            jinja_fail(in, "TypeError: %s got %s argument '%.*s'", who,
                       at == SIZE_MAX ? "an unexpected keyword" : "multiple values for", n,
                       a->names[i].p);
            return false;
        }
        out[at] = a->kw[i];
    }
    for (size_t i = 0; i < min; i++)
        if (out[i].kind == V_MISSING) {
            jinja_fail(in, "TypeError: %s takes at least %zu argument(s)", who, min);
            return false;
        }
    return true;
}

int64_t jinja_arg_int(struct jinja *in, struct jvalue v, int64_t otherwise) {
    int64_t i = otherwise;
    if (v.kind == V_UNDEF)
        jinja_undefined(in, v);
    else if (v.kind != V_MISSING && !jv_int_of(v, &i))
        jinja_fail(in, "TypeError: '%s' object cannot be interpreted as an integer", jv_type(v));
    return i;
}

bool jinja_arg_bool(struct jinja *in, struct jvalue v, bool otherwise) {
    return v.kind == V_MISSING ? otherwise : jv_truth(in, v);
}

struct jtext *jinja_arg_str(struct jinja *in, struct jvalue v, const char *otherwise) {
    if (v.kind == V_STR)
        return v.s;
    if (v.kind == V_UNDEF)
        jinja_undefined(in, v);
    else if (v.kind != V_MISSING)
        jinja_fail(in, "TypeError: expected str, got %s", jv_type(v));
    return jt_new(in, str_of(otherwise ? otherwise : ""), TRUST_ALL);
}

/* Removes the keyword argument of that name from a and returns it, or V_MISSING. */
static struct jvalue take_keyword(struct jargs *a, struct str name) {
    for (size_t i = 0; i < a->n_kw; i++)
        if (str_same(a->names[i], name)) {
            struct jvalue v = a->kw[i];
            for (a->n_kw--; i < a->n_kw; i++) {
                a->names[i] = a->names[i + 1];
                a->kw[i] = a->kw[i + 1];
            }
            return v;
        }
    return missing();
}

/* Binds the names that a macro's body sees besides its parameters: kwargs and varargs. False with
 * the error set. */
static bool bind_rest(struct jinja *in, const struct jmacro *m, struct jenv *env,
                      struct jargs *rest, size_t n_params) {
    const struct jnode *n = m->node;
    if (n->flag & MACRO_KWARGS) {
        struct jvalue d = jv_dict(in);
        for (size_t i = 0; i < rest->n_kw; i++)
            jv_put(in, d.d, jv_text(jt_new(in, rest->names[i], TRUST_ALL)), rest->kw[i]);
        jinja_bind_name(in, env, jinja_find_sym(in->t, str_of("kwargs")), d);
    } else if (rest->n_kw) {
        jinja_fail(in, "TypeError: macro '%.*s' takes no keyword argument '%.*s'", (int)n->name.n,
                   n->name.p, rest->names[0].n > 60 ? 60 : (int)rest->names[0].n, rest->names[0].p);
    }
    if (n->flag & MACRO_VARARGS) {
        struct jvalue t = jv_list(in, V_TUPLE, 0);
        for (size_t i = n_params; i < rest->n; i++)
            jv_push(in, t.l, rest->pos[i]);
        jinja_bind_name(in, env, jinja_find_sym(in->t, str_of("varargs")), t);
    } else if (rest->n > n_params) {
        jinja_fail(in, "TypeError: macro '%.*s' takes not more than %zu argument(s)",
                   (int)n->name.n, n->name.p, n_params);
    }
    return !in->failed;
}

struct jvalue jinja_call_macro(struct jinja *in, const struct jmacro *m, const struct jargs *a) {
    const struct jnode *n = m->node;
    struct jenv *env = jinja_scope(in, m->env);
    struct jargs rest = *a;
    size_t n_params = n->n_kids - 1;
    bool own_caller = false;
    struct jvalue *given = jinja_alloc(in, (n_params + 1) * sizeof *given);
    for (size_t i = 0; i < n_params; i++) {
        given[i] = i < a->n ? a->pos[i] : take_keyword(&rest, n->kids[i + 1]->name);
        own_caller |= str_eq(n->kids[i + 1]->name, "caller");
    }
    if ((n->flag & MACRO_CALLER) && !own_caller) {
        struct jvalue caller = take_keyword(&rest, str_of("caller"));
        if (caller.kind == V_MISSING || caller.kind == V_NONE)
            caller = jv_undef(in, "No caller defined", "", (struct str){"", 0});
        jinja_bind_name(in, env, jinja_find_sym(in->t, str_of("caller")), caller);
    }
    if (!bind_rest(in, m, env, &rest, n_params) || !jinja_deeper(in))
        return jv_none();
    for (size_t i = 0; i < n_params && !in->failed; i++) {
        const struct jnode *param = n->kids[i + 1];
        if (given[i].kind == V_MISSING)
            given[i] = param->kids[0]
                           ? jinja_eval(in, env, param->kids[0])
                           : jv_undef(in, "parameter '#' was not provided", "", param->name);
        jinja_bind_name(in, env, param->sym, given[i]);
    }
    struct jtext *out = in->failed ? NULL : jinja_capture(in, env, n->kids[0]);
    in->depth--;
    return in->failed ? jv_none() : jv_text(out);
}

static struct jvalue call_method(struct jinja *in, const struct jmethod *m, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS], self = m->self;
    struct jargs rest = *a;
    if (self.kind == V_MISSING) { // dict.items(d)
        if (a->n == 0 || a->pos[0].kind != V_DICT)
            return jinja_fail(in, "TypeError: descriptor '%s' for 'dict' objects needs a dict",
                              m->info->name);
        self = rest.pos[0];
        rest.pos++;
        rest.n--;
    }
    if (m->info->call_args)
        return m->info->call_args(in, self, &rest);
    return jinja_bind(in, m->info->name, m->info->params, m->info->min, &rest, v)
               ? m->info->call(in, self, v)
               : jv_none();
}

struct jvalue jinja_call(struct jinja *in, struct jvalue callee, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS];
    switch (callee.kind) {
    case V_FUNCTION:
        return callee.function->call(in, a);
    case V_METHOD:
        return call_method(in, callee.method, a);
    case V_MACRO:
        return jinja_call_macro(in, callee.macro, a);
    case V_LOOP:
        return jinja_call_loop(in, callee.loop, a);
    case V_JOINER: // the separator, except the first time
        if (!jinja_bind(in, "joiner", "", 0, a, v))
            return jv_none();
        return callee.cycle->pos++ ? callee.cycle->items->v[0] : jv_str(in, "");
    case V_UNDEF:
        return jinja_undefined(in, callee);
    default:
        return jinja_fail(in, "TypeError: '%s' object is not callable", jv_type(callee));
    }
}

struct jvalue jinja_call_filter(struct jinja *in, struct str name, struct jvalue self,
                                const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS];
    const struct jfilter *f = jinja_filter(name);
    if (!f)
        return jinja_fail(in, "TemplateRuntimeError: No filter named '%.*s' found.",
                          name.n > 60 ? 60 : (int)name.n, name.p);
    if (f->call_args)
        return f->call_args(in, self, a);
    return jinja_bind(in, f->name, f->params, f->min, a, v) ? f->call(in, self, v) : jv_none();
}
