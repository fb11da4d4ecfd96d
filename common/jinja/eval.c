/* Evaluating expressions: a walk over the tree. Each node costs a step, and each level counts as
 * depth.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/run.h"

struct jenv *jinja_scope(struct jinja *in, struct jenv *parent) {
    struct jenv *env = jinja_alloc(in, sizeof *env);
    env->parent = parent;
    return env;
}

static struct jvalue *find(struct jenv *env, uint32_t sym) {
    for (; env; env = env->parent)
        for (uint32_t i = 0; i < env->n; i++)
            if (env->vars[i].sym == sym)
                return &env->vars[i].v;
    return NULL;
}

void jinja_bind_name(struct jinja *in, struct jenv *env, uint32_t sym, struct jvalue v) {
    for (uint32_t i = 0; i < env->n; i++)
        if (env->vars[i].sym == sym) {
            env->vars[i].v = v;
            return;
        }
    if (env->n == env->cap) {
        uint32_t cap = env->cap ? env->cap * 2 : 4;
        struct jbinding *more = jinja_alloc(in, cap * sizeof *more);
        if (env->n)
            memcpy(more, env->vars, env->n * sizeof *more);
        env->vars = more;
        env->cap = cap;
    }
    env->vars[env->n++] = (struct jbinding){sym, v};
}

static bool unpack(struct jinja *in, struct jenv *env, const struct jnode *target,
                   struct jvalue v) {
    struct jiter it;
    struct jvalue item;
    uint32_t n = 0;
    if (!jinja_iterable(v)) {
        jinja_fail(in, "TypeError: cannot unpack non-iterable %s object", jv_type(v));
        return false;
    }
    jinja_iter(in, v, &it);
    while (jinja_next(in, &it, &item)) {
        if (n == target->n_kids) {
            jinja_fail(in, "ValueError: too many values to unpack (expected %u)", target->n_kids);
            return false;
        }
        if (!jinja_assign(in, env, target->kids[n++], item))
            return false;
    }
    if (n < target->n_kids)
        jinja_fail(in, "ValueError: not enough values to unpack (expected %u, got %u)",
                   target->n_kids, n);
    return !in->failed;
}

bool jinja_assign(struct jinja *in, struct jenv *env, const struct jnode *target, struct jvalue v) {
    if (in->failed)
        return false;
    if (target->kind == N_TUPLE)
        return unpack(in, env, target, v);
    if (target->kind == N_NAME) {
        jinja_bind_name(in, env, target->sym, v);
        return true;
    }
    struct jvalue *ns = find(env, target->sym);
    if (!ns || ns->kind != V_NAMESPACE)
        jinja_fail(in, "TemplateRuntimeError: cannot assign attribute on non-namespace object");
    else if (target->name.p[0] == '_')
        jinja_fail(in,
                   "SecurityError: a namespace takes no attribute that begins with an underscore");
    else
        jv_put(in, ns->d, jv_text(jt_new(in, target->name, TRUST_ALL)), v);
    return !in->failed;
}

static struct jvalue eval_items(struct jinja *in, struct jenv *env, const struct jnode *n,
                                enum jkind kind) {
    struct jvalue list = jv_list(in, kind, n->n_kids);
    for (uint32_t i = 0; i < n->n_kids && !in->failed; i++)
        jv_push(in, list.l, jinja_eval(in, env, n->kids[i]));
    return list;
}

static struct jvalue eval_dict(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jvalue dict = jv_dict(in);
    for (uint32_t i = 0; i + 1 < n->n_kids && !in->failed; i += 2) {
        struct jvalue key = jinja_eval(in, env, n->kids[i]),
                      v = jinja_eval(in, env, n->kids[i + 1]);
        if (!in->failed && jv_hashable(in, key))
            jv_put(in, dict.d, key, v);
    }
    return dict;
}

static struct jvalue eval_item(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jvalue obj = jinja_eval(in, env, n->kids[0]), bounds[3];
    const struct jnode *index = n->kids[1];
    if (index->kind != N_SLICE) {
        struct jvalue key = jinja_eval(in, env, index);
        in->line = n->line;
        return in->failed ? key : jinja_getitem(in, obj, key);
    }
    for (int i = 0; i < 3; i++)
        bounds[i] = index->kids[i] ? jinja_eval(in, env, index->kids[i]) : jv_none();
    in->line = n->line;
    return in->failed ? obj : jinja_slice(in, obj, bounds);
}

static struct jvalue eval_binary(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jvalue a = jinja_eval(in, env, n->kids[0]);
    if (in->failed)
        return a;
    struct jvalue b = jinja_eval(in, env, n->kids[1]);
    in->line = n->line;
    return in->failed ? b : jinja_binary(in, n->op, a, b);
}

static struct jvalue eval_concat(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jtext *sum = jv_to_str(in, jinja_eval(in, env, n->kids[0]));
    for (uint32_t i = 1; i < n->n_kids && !in->failed; i++)
        sum = jt_concat(in, sum, jv_to_str(in, jinja_eval(in, env, n->kids[i])));
    return jv_text(sum);
}

/* a < b < c: each operand is evaluated once, and only while the comparison holds. */
static struct jvalue eval_compare(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jvalue left = jinja_eval(in, env, n->kids[0]);
    bool holds = true;
    for (uint32_t i = 1; i < n->n_kids && holds && !in->failed; i++) {
        struct jvalue right = jinja_eval(in, env, n->kids[i]->kids[0]);
        in->line = n->line;
        holds = !in->failed && jinja_compare(in, n->kids[i]->op, left, right);
        left = right;
    }
    return jv_bool(holds);
}

static struct jvalue eval_cond(struct jinja *in, struct jenv *env, const struct jnode *n) {
    bool yes = jv_truth(in, jinja_eval(in, env, n->kids[0]));
    if (in->failed)
        return jv_none();
    if (yes || n->kids[2])
        return jinja_eval(in, env, n->kids[yes ? 1 : 2]);
    return jv_undef(in,
                    "the inline if-expression evaluated to false and no else section was defined.",
                    "", n->name);
}

static bool push_starred(struct jinja *in, struct jvalue v, struct jargs *a, size_t cap) {
    struct jiter it;
    struct jvalue item;
    if (!jinja_iter(in, v, &it))
        return false;
    while (a->n < cap && jinja_next(in, &it, &item))
        a->pos[a->n++] = item;
    return !in->failed;
}

static bool push_keywords(struct jinja *in, struct jvalue v, struct jargs *a) {
    if (v.kind != V_DICT) {
        jinja_fail(in, "TypeError: argument after ** must be a mapping, not %s", jv_type(v));
        return false;
    }
    for (size_t i = 0; i < v.d->n; i++) {
        if (!jv_is_str(v.d->pairs[i].key)) {
            jinja_fail(in, "TypeError: keywords must be strings");
            return false;
        }
        a->names[a->n_kw] = jt_view(v.d->pairs[i].key.s);
        a->kw[a->n_kw++] = v.d->pairs[i].value;
    }
    return true;
}

/* Evaluates the arguments kids[first..] of a call, filter or test. There is room for one more
 * keyword argument, `caller`. */
bool jinja_eval_args(struct jinja *in, struct jenv *env, const struct jnode *n, uint32_t first,
                     struct jargs *a) {
    size_t n_pos = 0, n_kw = n->kind == N_CALL ? 1 : 0;
    struct jvalue star = jv_none(), starred = jv_none();
    int64_t len = 0;
    *a = (struct jargs){0};
    for (uint32_t i = first; i < n->n_kids; i++) {
        const struct jnode *k = n->kids[i];
        n_pos += k->kind != N_KEYWORD && k->kind != N_STAR && k->kind != N_STARSTAR;
        n_kw += k->kind == N_KEYWORD;
        if (k->kind == N_STAR) {
            star = jinja_to_list(in, jinja_eval(in, env, k->kids[0]), V_LIST);
            n_pos += in->failed ? 0 : star.l->n;
        } else if (k->kind == N_STARSTAR) {
            starred = jinja_eval(in, env, k->kids[0]);
            n_kw += jv_len(in, starred, &len) ? (size_t)len : 0;
        }
    }
    if (in->failed || !jinja_room(in, (n_pos + 2 * n_kw) * sizeof *a->pos))
        return false;
    a->pos = jinja_alloc(in, n_pos * sizeof *a->pos);
    a->kw = jinja_alloc(in, n_kw * sizeof *a->kw);
    a->names = jinja_alloc(in, n_kw * sizeof *a->names);
    for (uint32_t i = first; i < n->n_kids && !in->failed; i++) {
        const struct jnode *k = n->kids[i];
        if (k->kind == N_STAR) {
            push_starred(in, star, a, n_pos);
        } else if (k->kind == N_STARSTAR) {
            push_keywords(in, starred, a);
        } else if (k->kind == N_KEYWORD) {
            a->names[a->n_kw] = k->name;
            a->kw[a->n_kw++] = jinja_eval(in, env, k->kids[0]);
        } else {
            a->pos[a->n++] = jinja_eval(in, env, k);
        }
    }
    return !in->failed;
}

static struct jvalue eval_call(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jargs a;
    struct jvalue callee = jinja_eval(in, env, n->kids[0]);
    if (in->failed || !jinja_eval_args(in, env, n, 1, &a))
        return callee;
    in->line = n->line;
    return jinja_call(in, callee, &a);
}

static struct jvalue eval_named(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jargs a;
    struct jvalue self = jinja_eval(in, env, n->kids[0]);
    if (in->failed || !jinja_eval_args(in, env, n, 1, &a))
        return self;
    in->line = n->line;
    if (n->kind == N_FILTER)
        return jinja_call_filter(in, n->name, self, &a);
    return jv_bool(jinja_call_test(in, n->name, self, &a));
}

static struct jvalue eval_name(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jvalue *v = find(env, n->sym);
    return v ? *v : jv_undef(in, "'#' is undefined", "", n->name);
}

static struct jvalue eval(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jvalue v;
    switch (n->kind) {
    case N_CONST:
        return n->value;
    case N_NAME:
        return eval_name(in, env, n);
    case N_LIST:
    case N_TUPLE:
        return eval_items(in, env, n, n->kind == N_LIST ? V_LIST : V_TUPLE);
    case N_DICT:
        return eval_dict(in, env, n);
    case N_ATTR:
        v = jinja_eval(in, env, n->kids[0]);
        in->line = n->line;
        return in->failed ? v : jinja_getattr(in, v, n->name);
    case N_ITEM:
        return eval_item(in, env, n);
    case N_CALL:
        return eval_call(in, env, n);
    case N_FILTER:
    case N_TEST:
        return eval_named(in, env, n);
    case N_NEG:
    case N_POS:
        v = jinja_eval(in, env, n->kids[0]);
        return in->failed ? v : jinja_negate(in, v, n->kind == N_NEG);
    case N_NOT:
        return jv_bool(!jv_truth(in, jinja_eval(in, env, n->kids[0])));
    case N_BINARY:
        return eval_binary(in, env, n);
    case N_AND:
    case N_OR:
        v = jinja_eval(in, env, n->kids[0]);
        return in->failed || jv_truth(in, v) == (n->kind == N_OR) ? v
                                                                  : jinja_eval(in, env, n->kids[1]);
    case N_CONCAT:
        return eval_concat(in, env, n);
    case N_COMPARE:
        return eval_compare(in, env, n);
    case N_COND:
        return eval_cond(in, env, n);
    default: // a slice outside x[...], as in x[1:2, 3]
        return jinja_fail(in, "TypeError: a slice cannot be a key");
    }
}

struct jvalue jinja_eval(struct jinja *in, struct jenv *env, const struct jnode *n) {
    if (!n) // the input of a block's filter is the captured output
        return jv_text(jb_done(in->out));
    in->line = n->line;
    if (!jinja_steps(in, 1) || !jinja_deeper(in))
        return jv_none();
    struct jvalue v = eval(in, env, n);
    in->depth--;
    return v;
}
