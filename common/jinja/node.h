/* The syntax tree of a template, and the parser's shared functions.
 *
 * All nodes have the same form: a kind, a line, children, and a name or a constant if the kind has
 * one. `{{ a.b + 1 }}` is
 *
 *     N_OUTPUT
 *       N_BINARY op T_ADD
 *         N_ATTR name "b"
 *           N_NAME sym of "a"
 *         N_CONST value 1
 *
 * The comment after each kind lists its children; "?" may be NULL.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_NODE_H
#define JINJA_NODE_H

#include "base/err.h"
#include "jinja/lex.h"
#include "jinja/value.h"

enum jnode_kind {
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
    N_FILTER,   // input?, arguments; name. No input: the block's captured output
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
    N_COMPARE, // left, operand, operand ...; each operand is an N_OPERAND
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
    N_REFUSE, // value: the message. For {% include %} and others that need a loader
};

enum { MACRO_CALLER = 1, MACRO_KWARGS = 2, MACRO_VARARGS = 4, FOR_RECURSIVE = 8 };

struct jnode {
    uint8_t kind;
    uint8_t op; // the operator, an enum jtoken_type
    uint8_t flag;
    int line;
    uint32_t sym;
    uint32_t n_kids, cap;
    struct jnode **kids;
    struct str name;
    struct jvalue value;
};

struct jinja_template {
    char *name;
    struct str source;  // all newlines are \n
    struct arena arena; // owns the tree
    struct str *syms;   // [n_syms] each name in the template once
    uint32_t n_syms, cap_syms;
    struct jnode *root; // N_BODY
};

uint32_t jinja_sym(struct jinja_template *t, struct str name); // adds the name if it is new
// UINT32_MAX: not in the template.
uint32_t jinja_find_sym(const struct jinja_template *t, struct str name);

/* The state of parsing, shared by parse.c (statements) and expr.c (expressions). */
struct jinja_parser {
    struct jinja_template *t;
    struct jtoken *tokens; // [n], the last is T_EOF
    size_t at;
    int depth;
    bool failed;
    struct err *e;
};

struct jnode *jinja_node(struct jinja_parser *p, enum jnode_kind kind, int line);
void jinja_add_kid(struct jinja_parser *p, struct jnode *n, struct jnode *kid);
void jinja_syntax(struct jinja_parser *p, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
static inline struct jtoken *jinja_peek(struct jinja_parser *p) {
    return &p->tokens[p->at];
}
bool jinja_is(struct jinja_parser *p, enum jtoken_type type);
bool jinja_is_name(struct jinja_parser *p, const char *name);
bool jinja_accept(struct jinja_parser *p, enum jtoken_type type);
bool jinja_accept_name(struct jinja_parser *p, const char *name);
struct jtoken *jinja_expect(struct jinja_parser *p, enum jtoken_type type);
// Goes one level deeper; false past the limit.
bool jinja_enter(struct jinja_parser *p);

struct jnode *jinja_expr(struct jinja_parser *p, bool with_cond);
struct jnode *jinja_tuple(struct jinja_parser *p, bool with_cond, bool parens,
                          const char *end_name);
struct jnode *jinja_primary(struct jinja_parser *p);
struct jnode *jinja_filters(struct jinja_parser *p, struct jnode *input, bool start_inline);
struct jnode *jinja_target(struct jinja_parser *p, bool with_namespace, const char *end_name);

/* Refuses what jinja2 refuses before it renders: unknown filters and tests, break outside a loop, a
 * target named loop. */
bool jinja_check(struct jinja_parser *p, const struct jnode *root);
/* Returns MACRO_* bits: which of caller, kwargs and varargs a macro's body uses. */
uint8_t jinja_macro_uses(const struct jnode *macro);

#endif
