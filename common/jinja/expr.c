/* Parsing expressions by recursive descent, with the grammar and the precedence of
 * jinja2/parser.py.
 *
 *     cond: or [if or [else cond]];  or: and {or and};  and: not {and not};  not: not not | compare
 *     compare: sum {(== != < <= > >= in, not in) sum};  sum: concat {+ -};  concat: term {~ term}
 *     term: power {* / // %};  power: unary {** unary};  unary: [- +] primary postfix filters
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "jinja/node.h"

static struct jnode *parse_or(struct jinja_parser *p);
static struct jnode *parse_unary(struct jinja_parser *p, bool with_filter);

static struct jnode *pair(struct jinja_parser *p, enum jnode_kind kind, uint8_t op, struct jnode *a,
                          struct jnode *b, int line) {
    struct jnode *n = jinja_node(p, kind, line);
    n->op = op;
    jinja_add_kid(p, n, a);
    jinja_add_kid(p, n, b);
    return n;
}

static int line_of(struct jinja_parser *p) {
    return jinja_peek(p)->line;
}

static struct jnode *constant(struct jinja_parser *p, struct jvalue v, int line) {
    struct jnode *n = jinja_node(p, N_CONST, line);
    n->value = v;
    return n;
}

/* A string constant. Adjacent ones are joined. */
static struct jnode *string(struct jinja_parser *p) {
    struct buf b = {0};
    int line = line_of(p);
    while (jinja_is(p, T_STRING)) {
        struct jtoken *t = jinja_expect(p, T_STRING);
        buf_add(&b, t->text.p, t->text.n);
    }
    struct jtext *s = arena_alloc(&p->t->arena, sizeof *s);
    struct str copy = arena_str(&p->t->arena, b.p, b.n);
    *s = (struct jtext){.p = copy.p, .n = copy.n, .trust = TRUST_ALL};
    buf_free(&b);
    return constant(p, jv_text(s), line);
}

static struct jnode *list(struct jinja_parser *p) {
    struct jnode *n = jinja_node(p, N_LIST, line_of(p));
    jinja_expect(p, T_LBRACKET);
    while (!p->failed && !jinja_is(p, T_RBRACKET)) {
        jinja_add_kid(p, n, jinja_expr(p, true));
        if (!jinja_accept(p, T_COMMA))
            break;
    }
    jinja_expect(p, T_RBRACKET);
    return n;
}

static struct jnode *dict(struct jinja_parser *p) {
    struct jnode *n = jinja_node(p, N_DICT, line_of(p));
    jinja_expect(p, T_LBRACE);
    while (!p->failed && !jinja_is(p, T_RBRACE)) {
        jinja_add_kid(p, n, jinja_expr(p, true));
        jinja_expect(p, T_COLON);
        jinja_add_kid(p, n, jinja_expr(p, true));
        if (!jinja_accept(p, T_COMMA))
            break;
    }
    jinja_expect(p, T_RBRACE);
    return n;
}

static struct jnode *name(struct jinja_parser *p) {
    struct jtoken *t = jinja_expect(p, T_NAME);
    if (str_eq(t->text, "true") || str_eq(t->text, "True"))
        return constant(p, jv_bool(true), t->line);
    if (str_eq(t->text, "false") || str_eq(t->text, "False"))
        return constant(p, jv_bool(false), t->line);
    if (str_eq(t->text, "none") || str_eq(t->text, "None"))
        return constant(p, jv_none(), t->line);
    struct jnode *n = jinja_node(p, N_NAME, t->line);
    n->name = t->text;
    n->sym = jinja_sym(p->t, t->text);
    return n;
}

struct jnode *jinja_primary(struct jinja_parser *p) {
    struct jtoken *t = jinja_peek(p);
    struct jnode *n;
    switch (t->type) {
    case T_NAME:
        return name(p);
    case T_STRING:
        return string(p);
    case T_INTEGER:
        p->at++;
        return constant(p, jv_int(t->i), t->line);
    case T_FLOAT:
        p->at++;
        return constant(p, jv_float(t->f), t->line);
    case T_LPAREN:
        p->at++;
        n = jinja_tuple(p, true, true, NULL);
        jinja_expect(p, T_RPAREN);
        return n;
    case T_LBRACKET:
        return list(p);
    case T_LBRACE:
        return dict(p);
    default:
        jinja_syntax(p, t->line, "unexpected %s", jinja_token_name(t->type));
        return jinja_node(p, N_CONST, t->line);
    }
}

static bool tuple_ends(struct jinja_parser *p, const char *end_name) {
    return jinja_is(p, T_VARIABLE_END) || jinja_is(p, T_BLOCK_END) || jinja_is(p, T_RPAREN) ||
           (end_name && jinja_is_name(p, end_name));
}

struct jnode *jinja_tuple(struct jinja_parser *p, bool with_cond, bool parens,
                          const char *end_name) {
    struct jnode *n = jinja_node(p, N_TUPLE, line_of(p));
    bool tuple = false;
    while (!p->failed && !tuple_ends(p, end_name)) {
        jinja_add_kid(p, n, jinja_expr(p, with_cond));
        if (!jinja_accept(p, T_COMMA))
            break;
        tuple = true;
    }
    if (!tuple && n->n_kids == 1)
        return n->kids[0];
    if (n->n_kids == 0 && !parens)
        jinja_syntax(p, line_of(p), "expected an expression, got %s",
                     jinja_token_name(jinja_peek(p)->type));
    return n;
}

/* Parses the inside of x[...]: an expression or a slice. */
static struct jnode *subscript(struct jinja_parser *p) {
    struct jnode *parts[3] = {NULL, NULL, NULL};
    int line = line_of(p), i = 0;
    bool slice = false;
    for (; i < 3; i++) {
        if (!jinja_is(p, T_COLON) && !jinja_is(p, T_RBRACKET) && !jinja_is(p, T_COMMA))
            parts[i] = jinja_expr(p, true);
        if (i == 2 || !jinja_accept(p, T_COLON))
            break;
        slice = true;
    }
    if (!slice) {
        if (!parts[0])
            jinja_syntax(p, line, "unexpected %s", jinja_token_name(jinja_peek(p)->type));
        return parts[0];
    }
    struct jnode *n = jinja_node(p, N_SLICE, line);
    for (i = 0; i < 3; i++)
        jinja_add_kid(p, n, parts[i]);
    return n;
}

static struct jnode *item(struct jinja_parser *p, struct jnode *object) {
    int line = line_of(p);
    jinja_expect(p, T_LBRACKET);
    struct jnode *index = jinja_node(p, N_TUPLE, line);
    while (!p->failed && !jinja_is(p, T_RBRACKET)) {
        jinja_add_kid(p, index, subscript(p));
        if (!jinja_accept(p, T_COMMA))
            break;
    }
    jinja_expect(p, T_RBRACKET);
    return pair(p, N_ITEM, 0, object, index->n_kids == 1 ? index->kids[0] : index, line);
}

static struct jnode *attribute(struct jinja_parser *p, struct jnode *object) {
    int line = line_of(p);
    jinja_expect(p, T_DOT);
    struct jtoken *t = jinja_peek(p);
    if (jinja_accept(p, T_INTEGER))
        return pair(p, N_ITEM, 0, object, constant(p, jv_int(t->i), t->line), line);
    jinja_expect(p, T_NAME);
    struct jnode *n = jinja_node(p, N_ATTR, line);
    n->name = t->text;
    jinja_add_kid(p, n, object);
    return n;
}

static struct jnode *wrap(struct jinja_parser *p, enum jnode_kind kind, struct jnode *value,
                          struct str keyword) {
    struct jnode *n = jinja_node(p, kind, value ? value->line : 0);
    n->name = keyword;
    jinja_add_kid(p, n, value);
    return n;
}

/* Adds the arguments of a call to n, in the order that Python requires: positional, *args, names,
 * **kwargs. */
static void arguments(struct jinja_parser *p, struct jnode *n) {
    int line = line_of(p), stage = 0; // 1: after a name, 2: after *args, 3: after **kwargs
    jinja_expect(p, T_LPAREN);
    while (!p->failed && !jinja_is(p, T_RPAREN)) {
        struct jtoken *t = jinja_peek(p);
        int wants;
        if (jinja_accept(p, T_MUL)) {
            wants = stage < 2 ? 0 : 9;
            stage = 2;
            jinja_add_kid(p, n, wrap(p, N_STAR, jinja_expr(p, true), (struct str){"", 0}));
        } else if (jinja_accept(p, T_POW)) {
            wants = stage < 3 ? 0 : 9;
            stage = 3;
            jinja_add_kid(p, n, wrap(p, N_STARSTAR, jinja_expr(p, true), (struct str){"", 0}));
        } else if (t->type == T_NAME && p->tokens[p->at + 1].type == T_ASSIGN) {
            wants = stage < 3 ? 0 : 9;
            stage = stage < 1 ? 1 : stage;
            p->at += 2;
            jinja_add_kid(p, n, wrap(p, N_KEYWORD, jinja_expr(p, true), t->text));
        } else {
            wants = stage == 0 ? 0 : 9;
            jinja_add_kid(p, n, jinja_expr(p, true));
        }
        if (wants)
            jinja_syntax(p, line, "invalid syntax for function call expression");
        if (!jinja_accept(p, T_COMMA))
            break;
    }
    jinja_expect(p, T_RPAREN);
}

static struct jnode *call(struct jinja_parser *p, struct jnode *callee) {
    struct jnode *n = jinja_node(p, N_CALL, line_of(p));
    jinja_add_kid(p, n, callee);
    arguments(p, n);
    return n;
}

static struct jnode *postfix(struct jinja_parser *p, struct jnode *n) {
    while (!p->failed) {
        if (jinja_is(p, T_DOT))
            n = attribute(p, n);
        else if (jinja_is(p, T_LBRACKET))
            n = item(p, n);
        else if (jinja_is(p, T_LPAREN))
            n = call(p, n);
        else
            break;
    }
    return n;
}

/* The name of a filter or test, which may have dots. */
static struct str dotted(struct jinja_parser *p) {
    struct str first = jinja_expect(p, T_NAME)->text;
    if (!jinja_is(p, T_DOT))
        return first;
    struct buf b = {0};
    buf_add(&b, first.p, first.n);
    while (jinja_accept(p, T_DOT)) {
        struct str more = jinja_expect(p, T_NAME)->text;
        buf_fmt(&b, ".%.*s", (int)more.n, more.p);
    }
    struct str all = arena_str(&p->t->arena, b.p, b.n);
    buf_free(&b);
    return all;
}

struct jnode *jinja_filters(struct jinja_parser *p, struct jnode *input, bool start_inline) {
    while (!p->failed && (start_inline || jinja_is(p, T_PIPE))) {
        if (!start_inline)
            jinja_expect(p, T_PIPE);
        struct jnode *n = jinja_node(p, N_FILTER, line_of(p));
        jinja_add_kid(p, n, input);
        n->name = dotted(p);
        if (jinja_is(p, T_LPAREN))
            arguments(p, n);
        input = n;
        start_inline = false;
    }
    return input;
}

static bool test_argument_begins(struct jinja_parser *p) {
    switch (jinja_peek(p)->type) {
    case T_NAME:
        return !jinja_is_name(p, "else") && !jinja_is_name(p, "or") && !jinja_is_name(p, "and");
    case T_STRING:
    case T_INTEGER:
    case T_FLOAT:
    case T_LBRACKET:
    case T_LBRACE:
        return true;
    default:
        return false;
    }
}

static struct jnode *test(struct jinja_parser *p, struct jnode *input) {
    int line = line_of(p);
    p->at++; // is
    bool negated = jinja_accept_name(p, "not");
    struct jnode *n = jinja_node(p, N_TEST, line);
    jinja_add_kid(p, n, input);
    n->name = dotted(p);
    if (jinja_is(p, T_LPAREN)) {
        arguments(p, n);
    } else if (test_argument_begins(p)) {
        if (jinja_is_name(p, "is"))
            jinja_syntax(p, line, "You cannot chain multiple tests with is");
        jinja_add_kid(p, n, postfix(p, jinja_primary(p)));
    }
    return negated ? wrap(p, N_NOT, n, n->name) : n;
}

static struct jnode *parse_unary(struct jinja_parser *p, bool with_filter) {
    struct jnode *n;
    int line = line_of(p);
    if (!jinja_enter(p))
        return jinja_node(p, N_CONST, line);
    if (jinja_accept(p, T_SUB))
        n = wrap(p, N_NEG, parse_unary(p, false), (struct str){"", 0});
    else if (jinja_accept(p, T_ADD))
        n = wrap(p, N_POS, parse_unary(p, false), (struct str){"", 0});
    else
        n = jinja_primary(p);
    n = postfix(p, n);
    while (with_filter && !p->failed) {
        if (jinja_is(p, T_PIPE))
            n = jinja_filters(p, n, false);
        else if (jinja_is_name(p, "is"))
            n = test(p, n);
        else if (jinja_is(p, T_LPAREN))
            n = call(p, n);
        else
            break;
    }
    p->depth--;
    return n;
}

static struct jnode *parse_power(struct jinja_parser *p) {
    int line = line_of(p);
    struct jnode *n = parse_unary(p, true);
    while (jinja_accept(p, T_POW))
        n = pair(p, N_BINARY, T_POW, n, parse_unary(p, true), line);
    return n;
}

static struct jnode *parse_term(struct jinja_parser *p) {
    int line = line_of(p);
    struct jnode *n = parse_power(p);
    while (jinja_is(p, T_MUL) || jinja_is(p, T_DIV) || jinja_is(p, T_FLOORDIV) ||
           jinja_is(p, T_MOD)) {
        uint8_t op = (uint8_t)p->tokens[p->at++].type;
        n = pair(p, N_BINARY, op, n, parse_power(p), line);
        line = line_of(p);
    }
    return n;
}

static struct jnode *parse_concat(struct jinja_parser *p) {
    struct jnode *first = parse_term(p);
    if (!jinja_is(p, T_TILDE))
        return first;
    struct jnode *n = jinja_node(p, N_CONCAT, first->line);
    jinja_add_kid(p, n, first);
    while (jinja_accept(p, T_TILDE))
        jinja_add_kid(p, n, parse_term(p));
    return n;
}

static struct jnode *parse_sum(struct jinja_parser *p) {
    int line = line_of(p);
    struct jnode *n = parse_concat(p);
    while (jinja_is(p, T_ADD) || jinja_is(p, T_SUB)) {
        uint8_t op = (uint8_t)p->tokens[p->at++].type;
        n = pair(p, N_BINARY, op, n, parse_concat(p), line);
        line = line_of(p);
    }
    return n;
}

/* Consumes and returns the next comparison operator, or T_EOF if there is none. */
static uint8_t comparison(struct jinja_parser *p) {
    enum jtoken_type type = jinja_peek(p)->type;
    if (type >= T_EQ && type <= T_GE) {
        p->at++;
        return (uint8_t)type;
    }
    if (jinja_accept_name(p, "in"))
        return T_IN;
    if (jinja_is_name(p, "not") && p->tokens[p->at + 1].type == T_NAME &&
        str_eq(p->tokens[p->at + 1].text, "in")) {
        p->at += 2;
        return T_NOT_IN;
    }
    return T_EOF;
}

static struct jnode *parse_compare(struct jinja_parser *p) {
    int line = line_of(p);
    struct jnode *first = parse_sum(p), *n = NULL;
    for (uint8_t op; !p->failed && (op = comparison(p)) != T_EOF;) {
        if (!n) {
            n = jinja_node(p, N_COMPARE, line);
            jinja_add_kid(p, n, first);
        }
        struct jnode *operand = wrap(p, N_OPERAND, parse_sum(p), (struct str){"", 0});
        operand->op = op;
        jinja_add_kid(p, n, operand);
    }
    return n ? n : first;
}

static struct jnode *parse_not(struct jinja_parser *p) {
    int line = line_of(p);
    if (!jinja_accept_name(p, "not"))
        return parse_compare(p);
    struct jnode *n = jinja_node(p, N_NOT, line);
    if (jinja_enter(p)) {
        jinja_add_kid(p, n, parse_not(p));
        p->depth--;
    }
    return n;
}

static struct jnode *parse_and(struct jinja_parser *p) {
    int line = line_of(p);
    struct jnode *n = parse_not(p);
    while (jinja_accept_name(p, "and"))
        n = pair(p, N_AND, 0, n, parse_not(p), line);
    return n;
}

static struct jnode *parse_or(struct jinja_parser *p) {
    int line = line_of(p);
    struct jnode *n = parse_and(p);
    while (jinja_accept_name(p, "or"))
        n = pair(p, N_OR, 0, n, parse_and(p), line);
    return n;
}

struct jnode *jinja_expr(struct jinja_parser *p, bool with_cond) {
    int line = line_of(p);
    if (!jinja_enter(p))
        return jinja_node(p, N_CONST, line);
    struct jnode *n = parse_or(p);
    while (with_cond && jinja_accept_name(p, "if")) {
        struct jnode *cond = jinja_node(p, N_COND, line);
        jinja_add_kid(p, cond, parse_or(p));
        jinja_add_kid(p, cond, n);
        jinja_add_kid(p, cond, jinja_accept_name(p, "else") ? jinja_expr(p, true) : NULL);
        n = cond;
    }
    p->depth--;
    return n;
}
