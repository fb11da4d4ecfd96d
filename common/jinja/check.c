/* What jinja2 refuses when it compiles a template, before it renders anything.
 *
 * - Filters and tests that do not exist. Inside {% if %} and `a if b else c` they are refused only
 * when they are reached.
 * - break and continue outside a loop, and a loop that assigns to the name `loop`.
 * - Trees so deep that evaluating them would fail.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/thread.h"
#include "jinja/node.h"
#include "jinja/run.h"

struct frame {
    bool soft;    // directly inside a condition
    bool looping; // inside a loop that break can leave
    bool in_for;  // anywhere inside a loop
    int depth;
};

static void check(struct jinja_parser *p, const struct jnode *n, struct frame f);

static void check_kids(struct jinja_parser *p, const struct jnode *n, uint32_t from,
                       struct frame f) {
    for (uint32_t i = from; i < n->n_kids && !p->failed; i++)
        check(p, n->kids[i], f);
}

static void check_named(struct jinja_parser *p, const struct jnode *n, struct frame f,
                        bool exists) {
    if (!exists && !f.soft)
        jinja_syntax(p, n->line, "No %s named '%.*s'", n->kind == N_FILTER ? "filter" : "test",
                     n->name.n > 60 ? 60 : (int)n->name.n, n->name.p);
    check_kids(p, n, 0, f);
}

static void check_target(struct jinja_parser *p, const struct jnode *n, struct frame f) {
    if (n->kind == N_NAME && f.in_for && str_eq(n->name, "loop"))
        jinja_syntax(p, n->line, "Can't assign to special loop variable in for-loop target");
    for (uint32_t i = 0; n->kind == N_TUPLE && i < n->n_kids; i++)
        check_target(p, n->kids[i], f);
}

static void check_for(struct jinja_parser *p, const struct jnode *n, struct frame f) {
    struct frame inner = f, body;
    inner.soft = false;
    inner.in_for = true;
    body = inner;
    body.looping = true;
    check_target(p, n->kids[0], inner);
    check(p, n->kids[1], f);
    check(p, n->kids[2], inner);
    check(p, n->kids[3], body);
    check(p, n->kids[4], inner);
}

static void check(struct jinja_parser *p, const struct jnode *n, struct frame f) {
    struct frame inner = f;
    if (!n || p->failed)
        return;
    if (++f.depth > JINJA_MAX_DEPTH) {
        jinja_syntax(p, n->line, "an expression has more than %d parts", JINJA_MAX_DEPTH);
        return;
    }
    if (thread_stack_is_low()) {
        jinja_syntax(p, n->line, "an expression has more parts than the stack allows: %d", f.depth);
        return;
    }
    inner.depth = f.depth;
    inner.soft = false;
    switch (n->kind) {
    case N_FILTER:
        check_named(p, n, f, jinja_filter(n->name) != NULL);
        break;
    case N_TEST:
        check_named(p, n, f, jinja_test_exists(n->name));
        break;
    case N_IF:
    case N_COND:
        f.soft = true;
        check_kids(p, n, 0, f);
        break;
    case N_FOR:
        check_for(p, n, f);
        break;
    case N_SET:
        check_target(p, n->kids[0], f);
        check(p, n->kids[1], f);
        break;
    case N_SET_BLOCK:
        check_target(p, n->kids[0], f);
        check_kids(p, n, 1, inner);
        break;
    case N_MACRO:
    case N_SCOPE:
        inner.looping = false;
        check_kids(p, n, 0, inner);
        break;
    case N_FILTER_BLOCK:
    case N_WITH:
        check_kids(p, n, 0, inner);
        break;
    case N_BREAK:
    case N_CONTINUE:
        if (!f.looping)
            jinja_syntax(p, n->line, "'%s' outside loop",
                         n->kind == N_BREAK ? "break" : "continue");
        break;
    default:
        check_kids(p, n, 0, f);
    }
}

bool jinja_check(struct jinja_parser *p, const struct jnode *root) {
    check(p, root, (struct frame){0});
    return !p->failed;
}

static void find_names(const struct jnode *n, const struct str names[3], uint8_t *found,
                       int depth) {
    if (!n || depth > JINJA_MAX_DEPTH) // jinja_check refuses deeper trees
        return;
    for (int i = 0; n->kind == N_NAME && i < 3; i++)
        if (str_same(n->name, names[i]))
            *found |= (uint8_t)(1 << i);
    for (uint32_t i = 0; i < n->n_kids; i++)
        find_names(n->kids[i], names, found, depth + 1);
}

uint8_t jinja_macro_uses(const struct jnode *macro) {
    const struct str names[3] = {// In the order of the MACRO_* bits.
                                 {"caller", 6},
                                 {"kwargs", 6},
                                 {"varargs", 7}};
    uint8_t found = 0;
    find_names(macro->kids[0], names, &found, 0);
    // A parameter with one of these names is only a parameter.
    for (uint32_t i = 1; i < macro->n_kids; i++)
        for (int k = 1; k < 3; k++)
            if (str_same(macro->kids[i]->name, names[k]))
                found &= (uint8_t) ~(1 << k);
    return found;
}
