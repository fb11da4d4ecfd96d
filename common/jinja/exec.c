/* Executing statements: loops, conditions, assignments and captured blocks.
 *
 * Scopes are those of jinja2. A loop's body has a new one for each item. A macro and a call,
 * filter, with, set or generation block have one each; {% if %} has none. An assignment ends with
 * its scope, except to an attribute of a namespace:
 *
 *     {% set ns = namespace(n=0) %}
 *     {% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/run.h"

static struct jvalue missing(void) {
    return (struct jvalue){.kind = V_MISSING};
}

/* Returns an empty scope. It reuses the scope of the previous item unless a macro uses that. */
static struct jenv *fresh_scope(struct jinja *in, struct jenv *parent, struct jenv *used) {
    if (!used || used->kept)
        return jinja_scope(in, parent);
    used->n = 0;
    return used;
}

/* Fetches the next item that passes the loop's test, if there is one. */
static bool fetch(struct jinja *in, struct jloop *l, struct jvalue *v) {
    const struct jnode *test = l->node->kids[2];
    struct jenv *env = NULL;
    while (jinja_next(in, &l->src, v)) {
        if (!test || l->tested)
            return true;
        env = fresh_scope(in, l->env, env);
        if (!jinja_assign(in, env, l->node->kids[0], *v))
            return false;
        if (jv_truth(in, jinja_eval(in, env, test)) && !in->failed)
            return true;
    }
    return false;
}

static bool look_ahead(struct jinja *in, struct jloop *l) {
    if (l->ahead.kind == V_MISSING && !fetch(in, l, &l->ahead))
        l->ahead = missing();
    return l->ahead.kind != V_MISSING;
}

bool jinja_loop_length(struct jinja *in, struct jloop *l, int64_t *n) {
    if (l->length < 0 && (l->node->kids[2] || !jv_len(in, l->iterable, &l->length))) {
        struct jvalue rest = jv_list(in, V_LIST, 0), v;
        while (fetch(in, l, &v))
            jv_push(in, rest.l, v);
        l->length = (int64_t)rest.l->n + l->index0 + 1 + (l->ahead.kind != V_MISSING);
        l->tested = true;
        jinja_iter(in, rest, &l->src);
    }
    *n = l->length;
    return !in->failed;
}

struct jvalue jinja_loop_attr(struct jinja *in, struct jloop *l, struct str name) {
    int64_t n;
    if (str_eq(name, "index"))
        return jv_int(l->index0 + 1);
    if (str_eq(name, "index0"))
        return jv_int(l->index0);
    if (str_eq(name, "first"))
        return jv_bool(l->index0 == 0);
    if (str_eq(name, "last"))
        return jv_bool(!look_ahead(in, l));
    if (str_eq(name, "depth") || str_eq(name, "depth0"))
        return jv_int(l->depth0 + (name.n == 5));
    if (str_eq(name, "length") || str_eq(name, "revindex") || str_eq(name, "revindex0")) {
        if (!jinja_loop_length(in, l, &n))
            return jv_none();
        return jv_int(name.n == 6 ? n : n - l->index0 - (name.n == 9));
    }
    if (str_eq(name, "previtem"))
        return l->index0 == 0 ? jv_undef(in, "there is no previous item", "", name) : l->before;
    if (str_eq(name, "nextitem"))
        return look_ahead(in, l) ? l->ahead : jv_undef(in, "there is no next item", "", name);
    return missing();
}

/* Runs the body for each item, and the else part if no item ran the body to its end. */
static void run_loop(struct jinja *in, struct jloop *l) {
    const struct jnode *n = l->node;
    struct jenv *env = NULL;
    bool ran = false;
    struct jvalue v;
    while (!in->failed) {
        bool more = look_ahead(in, l);
        if (!more || in->failed)
            break;
        v = l->ahead;
        l->ahead = missing();
        l->index0++;
        l->before = l->current;
        l->current = v;
        env = fresh_scope(in, l->env, env);
        jinja_bind_name(in, env, n->sym, (struct jvalue){.kind = V_LOOP, .loop = l});
        if (!jinja_assign(in, env, n->kids[0], v))
            return;
        jinja_exec(in, env, n->kids[3]);
        enum jflow flow = in->flow;
        in->flow = FLOW_NONE;
        ran |= flow == FLOW_NONE;
        if (flow == FLOW_BREAK)
            break;
    }
    if (!ran && n->kids[4] && !in->failed)
        jinja_exec(in, jinja_scope(in, l->env), n->kids[4]);
}

static void exec_for(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jloop *l = jinja_alloc(in, sizeof *l);
    *l = (struct jloop){.node = n, .env = env, .index0 = -1, .length = -1};
    l->iterable = jinja_eval(in, env, n->kids[1]);
    in->line = n->line;
    if (!in->failed && jinja_iter(in, l->iterable, &l->src))
        run_loop(in, l);
}

struct jvalue jinja_call_loop(struct jinja *in, struct jloop *l, const struct jargs *a) {
    struct jvalue v[JINJA_MAX_PARAMS];
    if (!jinja_bind(in, "loop", "iterable", 1, a, v))
        return jv_none();
    if (!(l->node->flag & FOR_RECURSIVE))
        return jinja_fail(
            in, "TypeError: The loop must have the 'recursive' marker to be called recursively.");
    struct jloop *inner = jinja_alloc(in, sizeof *inner);
    *inner = (struct jloop){
        .node = l->node, .env = l->env, .index0 = -1, .length = -1, .depth0 = l->depth0 + 1};
    inner->iterable = v[0];
    struct jbuild out, *outer = in->out;
    jb_init(&out, in, 64);
    if (!jinja_iter(in, v[0], &inner->src) || !jinja_deeper(in))
        return jv_none();
    in->out = &out;
    run_loop(in, inner);
    in->out = outer;
    in->depth--;
    return jv_text(jb_done(&out));
}

struct jtext *jinja_capture(struct jinja *in, struct jenv *env, const struct jnode *body) {
    struct jbuild out, *outer = in->out;
    jb_init(&out, in, 64);
    in->out = &out;
    jinja_exec(in, env, body);
    in->out = outer;
    return jb_done(&out);
}

/* Runs body with its output captured, then applies the filter, if any. False if there is no result:
 * the body failed, or left the loop around it. */
static bool capture_filtered(struct jinja *in, struct jenv *env, const struct jnode *filter,
                             const struct jnode *body, struct jvalue *v) {
    struct jbuild out, *outer = in->out;
    struct jenv *inner = jinja_scope(in, env);
    jb_init(&out, in, 64);
    in->out = &out;
    jinja_exec(in, inner, body);
    bool whole = !in->failed && in->flow == FLOW_NONE;
    if (whole)
        *v = filter ? jinja_eval(in, inner, filter) : jv_text(jb_done(&out));
    in->out = outer;
    return whole && !in->failed;
}

static void output(struct jinja *in, struct jvalue v) {
    if (!in->failed)
        jb_text(in->out, jv_to_str(in, v));
}

static void exec_if(struct jinja *in, struct jenv *env, const struct jnode *n) {
    uint32_t i = 0;
    for (; i + 1 < n->n_kids; i += 2) {
        bool yes = jv_truth(in, jinja_eval(in, env, n->kids[i]));
        if (in->failed)
            return;
        if (yes) {
            jinja_exec(in, env, n->kids[i + 1]);
            return;
        }
    }
    if (i < n->n_kids)
        jinja_exec(in, env, n->kids[i]);
}

static void exec_with(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jenv *inner = jinja_scope(in, env);
    for (uint32_t i = 1; i + 1 < n->n_kids && !in->failed; i += 2)
        jinja_assign(in, inner, n->kids[i], jinja_eval(in, env, n->kids[i + 1]));
    jinja_exec(in, inner, n->kids[0]);
}

static struct jvalue make_macro(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jmacro *m = jinja_alloc(in, sizeof *m);
    *m = (struct jmacro){.node = n, .env = env};
    for (; env && !env->kept; env = env->parent)
        env->kept = true;
    return (struct jvalue){.kind = V_MACRO, .macro = m};
}

static void exec_call_block(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jargs a;
    const struct jnode *call = n->kids[0];
    struct jvalue callee = jinja_eval(in, env, call->kids[0]);
    if (in->failed || !jinja_eval_args(in, env, call, 1, &a))
        return;
    a.names[a.n_kw] = str_of("caller");
    a.kw[a.n_kw++] = make_macro(in, env, n->kids[1]);
    in->line = n->line;
    output(in, jinja_call(in, callee, &a));
}

static void exec(struct jinja *in, struct jenv *env, const struct jnode *n) {
    struct jvalue v;
    switch (n->kind) {
    case N_BODY:
        for (uint32_t i = 0; i < n->n_kids && !in->failed && in->flow == FLOW_NONE; i++)
            jinja_exec(in, env, n->kids[i]);
        break;
    case N_DATA:
        jb_text(in->out, n->value.s);
        break;
    case N_OUTPUT:
        output(in, jinja_eval(in, env, n->kids[0]));
        break;
    case N_IF:
        exec_if(in, env, n);
        break;
    case N_FOR:
        exec_for(in, env, n);
        break;
    case N_SET:
        jinja_assign(in, env, n->kids[0], jinja_eval(in, env, n->kids[1]));
        break;
    case N_SET_BLOCK:
        if (capture_filtered(in, env, n->kids[1], n->kids[2], &v))
            jinja_assign(in, env, n->kids[0], v);
        break;
    case N_FILTER_BLOCK:
        if (capture_filtered(in, env, n->kids[0], n->kids[1], &v))
            output(in, v);
        break;
    case N_MACRO:
        jinja_bind_name(in, env, n->sym, make_macro(in, env, n));
        break;
    case N_CALL_BLOCK:
        exec_call_block(in, env, n);
        break;
    case N_WITH:
        exec_with(in, env, n);
        break;
    case N_SCOPE:
        jinja_exec(in, jinja_scope(in, env), n->kids[0]);
        break;
    case N_BREAK:
        in->flow = FLOW_BREAK;
        break;
    case N_CONTINUE:
        in->flow = FLOW_CONTINUE;
        break;
    default: // N_REFUSE
        jinja_fail(in, "TypeError: no loader for this environment specified");
    }
}

void jinja_exec(struct jinja *in, struct jenv *env, const struct jnode *n) {
    in->line = n->line;
    if (!jinja_steps(in, 1) || !jinja_deeper(in))
        return;
    exec(in, env, n);
    in->depth--;
}
