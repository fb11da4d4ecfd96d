/* Questions about a syntax tree: see uses.h.
 *
 * jinja_uses_list first collects the names that mean the member: {% set c = m.content %}, and
 * the parameter of a macro that is called with m.content. It repeats this until no name is new,
 * because a name may mean another. Then it looks for a loop or a filter over one of them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/uses.h"

#include <stdlib.h>

#include "jinja/run.h"

struct search {
    const struct jinja_template *t;
    struct str member;
    const struct jnode **macros; // [t->n_syms] the macro of that name, or NULL
    bool *alias;                 // [t->n_syms] the variable is the member
    bool changed;                // a name is new
    bool found;                  // the member is used as a list
};

static void add_literals(const struct jnode *n, struct buf *out, int depth) {
    if (!n || depth > JINJA_MAX_DEPTH) // jinja_check refuses deeper trees
        return;
    if ((n->kind == N_DATA || n->kind == N_CONST) && jv_is_str(n->value)) {
        buf_add(out, n->value.s->p, n->value.s->n);
        buf_byte(out, 0);
    }
    for (uint32_t i = 0; i < n->n_kids; i++)
        add_literals(n->kids[i], out, depth + 1);
}

void jinja_literals(const struct jinja_template *t, struct buf *out) {
    add_literals(t->root, out, 0);
}

static bool is_filter(const struct jnode *n, const char *const *names) {
    for (; n->kind == N_FILTER && *names; names++)
        if (str_eq(n->name, *names))
            return true;
    return false;
}

/* Whether the value of n can be the member itself. */
static bool is_member(const struct search *s, const struct jnode *n, int depth) {
    static const char *const passing[] = {"default", "d", "list", "reverse", NULL};
    if (!n || depth > JINJA_MAX_DEPTH)
        return false;
    switch (n->kind) {
    case N_ATTR:
        return str_same(n->name, s->member);
    case N_ITEM:
        return n->kids[1]->kind == N_CONST && jv_is_str(n->kids[1]->value) &&
               str_same(jt_view(n->kids[1]->value.s), s->member);
    case N_NAME:
        return n->sym < s->t->n_syms && s->alias[n->sym];
    case N_COND:
        return is_member(s, n->kids[1], depth + 1) ||
               (n->n_kids > 2 && is_member(s, n->kids[2], depth + 1));
    case N_AND:
    case N_OR:
        return is_member(s, n->kids[0], depth + 1) || is_member(s, n->kids[1], depth + 1);
    case N_SLICE:
        return false;
    case N_CALL: // m.get("content")
        return n->kids[0]->kind == N_ATTR && str_eq(n->kids[0]->name, "get") && n->n_kids > 1 &&
               n->kids[1]->kind == N_CONST && jv_is_str(n->kids[1]->value) &&
               str_same(jt_view(n->kids[1]->value.s), s->member);
    case N_FILTER:
        return is_filter(n, passing) && is_member(s, n->kids[0], depth + 1);
    default:
        return false;
    }
}

static void add_alias(struct search *s, const struct jnode *name) {
    if (name && name->sym < s->t->n_syms && !s->alias[name->sym]) {
        s->alias[name->sym] = true;
        s->changed = true;
    }
}

/* {% set a = m.content %}, {% set a, b = m.content, 1 %} and {% with a = m.content %}. */
static void follow_set(struct search *s, const struct jnode *target, const struct jnode *value) {
    if (target->kind == N_NAME && is_member(s, value, 0))
        add_alias(s, target);
    else if (target->kind == N_TUPLE && value->kind == N_TUPLE)
        for (uint32_t i = 0; i < target->n_kids && i < value->n_kids; i++)
            if (target->kids[i]->kind == N_NAME && is_member(s, value->kids[i], 0))
                add_alias(s, target->kids[i]);
}

/* The parameters of macro m that the call gives the member. */
static void follow_call(struct search *s, const struct jnode *m, const struct jnode *call) {
    for (uint32_t i = 1; i < call->n_kids; i++) {
        const struct jnode *a = call->kids[i];
        bool keyword = a->kind == N_KEYWORD;
        if (!is_member(s, keyword ? a->kids[0] : a, 0))
            continue;
        for (uint32_t k = 1; k < m->n_kids; k++)
            if (keyword ? str_same(m->kids[k]->name, a->name) : k == i)
                add_alias(s, m->kids[k]);
    }
}

static void collect(struct search *s, const struct jnode *n, int depth) {
    if (!n || depth > JINJA_MAX_DEPTH)
        return;
    if (n->kind == N_SET)
        follow_set(s, n->kids[0], n->kids[1]);
    for (uint32_t i = 1; n->kind == N_WITH && i + 1 < n->n_kids; i += 2)
        follow_set(s, n->kids[i], n->kids[i + 1]);
    if (n->kind == N_MACRO && n->sym < s->t->n_syms) {
        s->changed |= s->macros[n->sym] != n;
        s->macros[n->sym] = n;
    }
    if (n->kind == N_CALL && n->kids[0]->kind == N_NAME && n->kids[0]->sym < s->t->n_syms &&
        s->macros[n->kids[0]->sym])
        follow_call(s, s->macros[n->kids[0]->sym], n);
    for (uint32_t i = 0; i < n->n_kids; i++)
        collect(s, n->kids[i], depth + 1);
}

/* Whether n takes the member apart. */
static bool takes_apart(const struct search *s, const struct jnode *n) {
    static const char *const of_lists[] = {"map",    "selectattr", "rejectattr", "select",
                                           "reject", "join",       "groupby",    NULL};
    if (n->kind == N_FOR)
        return is_member(s, n->kids[1], 0);
    if (is_filter(n, of_lists))
        return is_member(s, n->kids[0], 0);
    if (n->kind != N_ATTR && n->kind != N_ITEM)
        return false;
    const struct jnode *item = n->kids[0]; // m.content[0].text
    return item->kind == N_ITEM && item->kids[1]->kind == N_CONST &&
           item->kids[1]->value.kind == V_INT && is_member(s, item->kids[0], 0);
}

static void find_list(struct search *s, const struct jnode *n, int depth) {
    if (!n || depth > JINJA_MAX_DEPTH || s->found)
        return;
    s->found = takes_apart(s, n);
    for (uint32_t i = 0; i < n->n_kids; i++)
        find_list(s, n->kids[i], depth + 1);
}

bool jinja_uses_list(const struct jinja_template *t, const char *name) {
    enum { MAX_ROUNDS = 8 }; // names of names of names
    struct search s = {.t = t, .member = str_of(name), .changed = true};
    s.alias = xcalloc(t->n_syms, sizeof *s.alias);
    s.macros = xcalloc(t->n_syms, sizeof *s.macros);
    for (int i = 0; i < MAX_ROUNDS && s.changed; i++) {
        s.changed = false;
        collect(&s, t->root, 0);
    }
    find_list(&s, t->root, 0);
    free(s.alias);
    free(s.macros);
    return s.found;
}
