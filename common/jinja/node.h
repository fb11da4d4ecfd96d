/* The syntax tree of a template. Every node has the same form: a kind, its line, its children, and
 * a name or a constant where the kind has one. The comment behind each kind says what its children
 * are ("?" may be NULL).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_NODE_H
#define JINJA_NODE_H

#include "base/err.h"
#include "jinja/lex.h"
#include "jinja/value.h"

enum node_kind {
    // expressions
    N_CONST,    // value
    N_NAME,     // sym
    N_LIST,     // items
    N_TUPLE,    // items
    N_DICT,     // key, value, key, value ...
    N_ATTR,     // object; name
    N_ITEM,     // object, index
    N_SLICE,    // from?, to?, step?
    N_CALL,     // callee, arguments
    N_FILTER,   // input?, arguments; name. No input: what the block captured
    N_TEST,     // input, arguments; name
    N_KEYWORD,  // an argument: value; name
    N_STAR,     // an argument: value
    N_STARSTAR, // an argument: value
    N_NEG,
    N_POS,
    N_NOT,
    N_BINARY, // left, right; op
    N_AND,
    N_OR,
    N_CONCAT,  // parts
    N_COMPARE, // left, operand, operand ...; each operand's op in its N_OPERAND
    N_OPERAND, // right; op
    N_COND,    // test, yes, no?
    // statements
    N_BODY,         // statements
    N_DATA,         // value
    N_OUTPUT,       // expression
    N_IF,           // test, body, test, body ..., else?
    N_FOR,          // target, iterable, test?, body, else?; flag: recursive
    N_SET,          // target, expression
    N_SET_BLOCK,    // target, filter?, body
    N_NSREF,        // a target: sym, name
    N_MACRO,        // body, parameters (N_PARAM); sym, name; flag: uses caller
    N_PARAM,        // default?; sym, name
    N_CALL_BLOCK,   // call, macro
    N_FILTER_BLOCK, // filter, body
    N_WITH,         // body, target, expression, target, expression ...
    N_SCOPE,        // body: {% block %}, {% generation %}
    N_BREAK,
    N_CONTINUE,
    N_REFUSE, // value: the message; {% include %} and its like, which need a loader
};

enum { MACRO_CALLER = 1, MACRO_KWARGS = 2, MACRO_VARARGS = 4, FOR_RECURSIVE = 8 };

struct node {
    uint8_t kind;
    uint8_t op; // enum token_type of an operator
    uint8_t flag;
    int line;
    uint32_t sym;
    uint32_t n_kids, cap;
    struct node **kids;
    struct str name;
    struct value value;
};

struct jinja_template {
    char *name;
    struct str source;  // with newlines as \n
    struct arena arena; // of everything
    struct str *syms;   // [n_syms]: every name in the template once
    uint32_t n_syms, cap_syms;
    struct node *root; // N_BODY
};

uint32_t jinja_sym(struct jinja_template *t, struct str name); // added where new
uint32_t jinja_find_sym(const struct jinja_template *t,
                        struct str name); // UINT32_MAX: not in the template

/* The state of parsing, shared by jinja_parse.c (statements) and jinja_expr.c (expressions). */
struct jinja_parser {
    struct jinja_template *t;
    struct token *tokens; // [n], the last is T_EOF
    size_t at;
    int depth;
    bool failed;
    struct err *e;
};

struct node *jinja_node(struct jinja_parser *p, enum node_kind kind, int line);
void jinja_add_kid(struct jinja_parser *p, struct node *n, struct node *kid);
void jinja_syntax(struct jinja_parser *p, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static inline struct token *jinja_peek(struct jinja_parser *p) {
    return &p->tokens[p->at];
}
bool jinja_is(struct jinja_parser *p, enum token_type type);
bool jinja_is_name(struct jinja_parser *p, const char *name);
bool jinja_accept(struct jinja_parser *p, enum token_type type);
bool jinja_accept_name(struct jinja_parser *p, const char *name);
struct token *jinja_expect(struct jinja_parser *p, enum token_type type);
bool jinja_enter(struct jinja_parser *p); // one level deeper; false past the limit

struct node *jinja_expr(struct jinja_parser *p, bool with_cond);
struct node *jinja_tuple(struct jinja_parser *p, bool with_cond, bool parens, const char *end_name);
struct node *jinja_primary(struct jinja_parser *p);
struct node *jinja_filters(struct jinja_parser *p, struct node *input, bool start_inline);
struct node *jinja_target(struct jinja_parser *p, bool with_namespace, const char *end_name);

/* What jinja2 refuses before it renders: unknown filters and tests, break outside a loop, a target
 * named loop. */
bool jinja_check(struct jinja_parser *p, const struct node *root);
/* Which of caller, kwargs, varargs a macro's body speaks of, as MACRO_* bits. */
uint8_t jinja_macro_uses(const struct node *macro);

#endif
