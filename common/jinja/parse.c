/* Parsing a template: its text, its tags and the statements. Expressions are in expr.c.
 *
 * The statements are for, if, set, macro, call, filter, with, block, print, break, continue,
 * generation and autoescape (false only). Those that need a loader (extends, include, import, from)
 * are refused when they are reached, as in jinja2 without a loader. Errors name the line.
 * JINJA_MAX_NESTING bounds the nesting.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>

#include "base/thread.h"
#include "base/utf8.h"
#include "jinja/jinja.h"
#include "jinja/node.h"
#include "jinja/run.h"

uint32_t jinja_find_sym(const struct jinja_template *t, struct str name) {
    for (uint32_t i = 0; i < t->n_syms; i++)
        if (str_same(t->syms[i], name))
            return i;
    return UINT32_MAX;
}

uint32_t jinja_sym(struct jinja_template *t, struct str name) {
    uint32_t sym = jinja_find_sym(t, name);
    if (sym != UINT32_MAX)
        return sym;
    if (t->n_syms == t->cap_syms) {
        t->cap_syms = t->cap_syms ? t->cap_syms * 2 : 64;
        t->syms = xreallocarray(t->syms, t->cap_syms, sizeof *t->syms);
    }
    t->syms[t->n_syms] = name;
    return t->n_syms++;
}

void jinja_syntax(struct jinja_parser *p, int line, const char *fmt, ...) {
    if (p->failed)
        return;
    p->failed = true;
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    err_set(p->e, EXIT_DATA, "TemplateSyntaxError: %s: %s: line %d", msg, p->t->name, line);
    while (p->tokens[p->at].type != T_EOF) // so that every loop ends
        p->at++;
}

struct jnode *jinja_node(struct jinja_parser *p, enum jnode_kind kind, int line) {
    struct jnode *n = arena_alloc(&p->t->arena, sizeof *n);
    n->kind = (uint8_t)kind;
    n->line = line;
    return n;
}

void jinja_add_kid(struct jinja_parser *p, struct jnode *n, struct jnode *kid) {
    if (n->n_kids == n->cap) {
        uint32_t cap = n->cap ? n->cap * 2 : 4;
        struct jnode **more = arena_alloc(&p->t->arena, cap * sizeof *more);
        if (n->n_kids)
            memcpy(more, n->kids, n->n_kids * sizeof *more);
        n->kids = more;
        n->cap = cap;
    }
    n->kids[n->n_kids++] = kid;
}

bool jinja_is(struct jinja_parser *p, enum jtoken_type type) {
    return jinja_peek(p)->type == type;
}

bool jinja_is_name(struct jinja_parser *p, const char *name) {
    return jinja_is(p, T_NAME) && str_eq(jinja_peek(p)->text, name);
}

bool jinja_accept(struct jinja_parser *p, enum jtoken_type type) {
    bool is = jinja_is(p, type);
    p->at += is && type != T_EOF;
    return is;
}

bool jinja_accept_name(struct jinja_parser *p, const char *name) {
    bool is = jinja_is_name(p, name);
    p->at += is;
    return is;
}

struct jtoken *jinja_expect(struct jinja_parser *p, enum jtoken_type type) {
    struct jtoken *t = jinja_peek(p);
    if (!jinja_accept(p, type))
        jinja_syntax(p, t->line, "expected %s, got %s", jinja_token_name(type),
                     jinja_token_name(t->type));
    return t;
}

bool jinja_enter(struct jinja_parser *p) {
    if (p->depth >= JINJA_MAX_NESTING) {
        jinja_syntax(p, jinja_peek(p)->line, "nested deeper than %d", JINJA_MAX_NESTING);
        return false;
    }
    if (thread_stack_is_low()) {
        jinja_syntax(p, jinja_peek(p)->line, "nested deeper than the stack allows: %d", p->depth);
        return false;
    }
    p->depth++;
    return true;
}

static struct jnode *parse_body(struct jinja_parser *p, const char *const *ends);

/* Parses the rest of a tag, and the statements up to one of the ends. */
static struct jnode *block(struct jinja_parser *p, const char *const *ends) {
    jinja_accept(p, T_COLON);
    jinja_expect(p, T_BLOCK_END);
    int line = jinja_peek(p)->line;
    struct jnode *body = parse_body(p, ends);
    if (!p->failed && jinja_is(p, T_EOF))
        jinja_syntax(p, line, "unexpected end of template, looking for '%s'", ends[0]);
    return body;
}

static struct jnode *block_to(struct jinja_parser *p, const char *end) {
    const char *const ends[] = {end, NULL};
    struct jnode *body = block(p, ends);
    jinja_accept_name(p, end);
    return body;
}

static struct jnode *target_name(struct jinja_parser *p, bool with_namespace) {
    struct jtoken *t = jinja_peek(p);
    struct jnode *n = jinja_primary(p);
    if (n->kind != N_NAME) {
        jinja_syntax(p, t->line, "can't assign to this");
        return n;
    }
    if (with_namespace && jinja_accept(p, T_DOT)) {
        n->kind = N_NSREF;
        n->name = jinja_expect(p, T_NAME)->text;
    }
    return n;
}

/* Parses the target of a set, for or with. A tuple in parentheses may be inside a tuple. */
struct jnode *jinja_target(struct jinja_parser *p, bool with_namespace, const char *end_name) {
    int line = jinja_peek(p)->line;
    struct jnode *tuple = jinja_node(p, N_TUPLE, line);
    bool comma = false;
    if (!jinja_enter(p))
        return tuple;
    while (!p->failed && !(end_name && jinja_is_name(p, end_name)) && !jinja_is(p, T_BLOCK_END) &&
           !jinja_is(p, T_RPAREN)) {
        struct jnode *part;
        if (jinja_accept(p, T_LPAREN)) {
            part = jinja_target(p, false, NULL);
            jinja_expect(p, T_RPAREN);
        } else {
            part = target_name(p, with_namespace);
        }
        jinja_add_kid(p, tuple, part);
        if (!jinja_accept(p, T_COMMA))
            break;
        comma = true;
    }
    p->depth--;
    if (tuple->n_kids == 0)
        jinja_syntax(p, line, "expected a name to assign to");
    return comma || tuple->n_kids == 0 ? tuple : tuple->kids[0];
}

static struct jnode *parse_for(struct jinja_parser *p, int line) {
    static const char *const ends[] = {"endfor", "else", NULL};
    struct jnode *n = jinja_node(p, N_FOR, line);
    jinja_add_kid(p, n, jinja_target(p, false, "in"));
    if (!jinja_accept_name(p, "in"))
        jinja_syntax(p, jinja_peek(p)->line, "expected 'in'");
    jinja_add_kid(p, n, jinja_tuple(p, false, false, "recursive"));
    jinja_add_kid(p, n, jinja_accept_name(p, "if") ? jinja_expr(p, true) : NULL);
    n->flag = jinja_accept_name(p, "recursive") ? FOR_RECURSIVE : 0;
    jinja_add_kid(p, n, block(p, ends));
    bool other = jinja_accept_name(p, "else");
    if (!other)
        jinja_accept_name(p, "endfor");
    jinja_add_kid(p, n, other ? block_to(p, "endfor") : NULL);
    n->sym = jinja_sym(p->t, str_of("loop"));
    return n;
}

static struct jnode *parse_if(struct jinja_parser *p, int line) {
    static const char *const ends[] = {"endif", "elif", "else", NULL};
    struct jnode *n = jinja_node(p, N_IF, line);
    do {
        jinja_add_kid(p, n, jinja_tuple(p, false, false, NULL));
        jinja_add_kid(p, n, block(p, ends));
    } while (!p->failed && jinja_accept_name(p, "elif"));
    if (jinja_accept_name(p, "else"))
        jinja_add_kid(p, n, block_to(p, "endif"));
    else
        jinja_accept_name(p, "endif");
    return n;
}

static struct jnode *parse_set(struct jinja_parser *p, int line) {
    struct jnode *target = jinja_target(p, true, NULL);
    bool assign = jinja_accept(p, T_ASSIGN);
    struct jnode *n = jinja_node(p, assign ? N_SET : N_SET_BLOCK, line);
    jinja_add_kid(p, n, target);
    if (assign) {
        jinja_add_kid(p, n, jinja_tuple(p, true, false, NULL));
        return n;
    }
    jinja_add_kid(p, n, jinja_filters(p, NULL, false));
    jinja_add_kid(p, n, block_to(p, "endset"));
    return n;
}

/* Parses the parameters of a macro or call block. kids[0] is reserved for the body. */
static void signature(struct jinja_parser *p, struct jnode *macro) {
    jinja_expect(p, T_LPAREN);
    bool defaults = false;
    while (!p->failed && !jinja_is(p, T_RPAREN)) {
        struct jtoken *t = jinja_expect(p, T_NAME);
        struct jnode *param = jinja_node(p, N_PARAM, t->line);
        param->name = t->text;
        param->sym = jinja_sym(p->t, t->text);
        bool has_default = jinja_accept(p, T_ASSIGN);
        if (defaults && !has_default)
            jinja_syntax(p, t->line, "non-default argument follows default argument");
        defaults = has_default;
        jinja_add_kid(p, param, has_default ? jinja_expr(p, true) : NULL);
        jinja_add_kid(p, macro, param);
        if (!jinja_accept(p, T_COMMA))
            break;
    }
    jinja_expect(p, T_RPAREN);
}

static struct jnode *parse_macro(struct jinja_parser *p, int line) {
    struct jnode *n = jinja_node(p, N_MACRO, line);
    jinja_add_kid(p, n, NULL);
    n->name = jinja_expect(p, T_NAME)->text;
    n->sym = jinja_sym(p->t, n->name);
    signature(p, n);
    n->kids[0] = block_to(p, "endmacro");
    n->flag = jinja_macro_uses(n);
    return n;
}

static struct jnode *parse_call(struct jinja_parser *p, int line) {
    struct jnode *n = jinja_node(p, N_CALL_BLOCK, line), *macro = jinja_node(p, N_MACRO, line);
    jinja_add_kid(p, macro, NULL);
    macro->name = str_of("caller");
    if (jinja_is(p, T_LPAREN))
        signature(p, macro);
    struct jnode *call = jinja_expr(p, true);
    if (!p->failed && call->kind != N_CALL)
        jinja_syntax(p, line, "expected call");
    macro->kids[0] = block_to(p, "endcall");
    macro->flag = jinja_macro_uses(macro);
    jinja_add_kid(p, n, call);
    jinja_add_kid(p, n, macro);
    return n;
}

static struct jnode *parse_filter_block(struct jinja_parser *p, int line) {
    struct jnode *n = jinja_node(p, N_FILTER_BLOCK, line);
    jinja_add_kid(p, n, jinja_filters(p, NULL, true));
    jinja_add_kid(p, n, block_to(p, "endfilter"));
    return n;
}

static struct jnode *parse_with(struct jinja_parser *p, int line) {
    struct jnode *n = jinja_node(p, N_WITH, line);
    jinja_add_kid(p, n, NULL);
    while (!p->failed && !jinja_is(p, T_BLOCK_END)) {
        if (n->n_kids > 1)
            jinja_expect(p, T_COMMA);
        jinja_add_kid(p, n, jinja_target(p, false, NULL));
        jinja_expect(p, T_ASSIGN);
        jinja_add_kid(p, n, jinja_expr(p, true));
    }
    n->kids[0] = block_to(p, "endwith");
    return n;
}

static struct jnode *scope(struct jinja_parser *p, int line, const char *end) {
    struct jnode *n = jinja_node(p, N_SCOPE, line);
    jinja_add_kid(p, n, block_to(p, end));
    return n;
}

static struct jnode *parse_named_block(struct jinja_parser *p, int line) {
    struct jtoken *name = jinja_expect(p, T_NAME);
    jinja_accept_name(p, "scoped");
    jinja_accept_name(p, "required");
    struct jnode *n = scope(p, line, "endblock");
    if (jinja_is(p, T_NAME) && str_same(jinja_peek(p)->text, name->text))
        p->at++;
    return n;
}

static struct jnode *parse_autoescape(struct jinja_parser *p, int line) {
    struct jnode *on = jinja_expr(p, true);
    if (!p->failed && (on->kind != N_CONST || on->value.kind != V_BOOL || on->value.b))
        jinja_syntax(p, line, "autoescape is supported as false only");
    return scope(p, line, "endautoescape");
}

static struct jnode *parse_print(struct jinja_parser *p, int line) {
    struct jnode *body = jinja_node(p, N_BODY, line);
    while (!p->failed && !jinja_is(p, T_BLOCK_END)) {
        if (body->n_kids)
            jinja_expect(p, T_COMMA);
        struct jnode *n = jinja_node(p, N_OUTPUT, line);
        jinja_add_kid(p, n, jinja_expr(p, true));
        jinja_add_kid(p, body, n);
    }
    return body;
}

/* Parses extends, include, import and from: skips the tag, which fails when it is executed. */
static struct jnode *parse_loader(struct jinja_parser *p, int line) {
    struct jnode *n = jinja_node(p, N_REFUSE, line);
    while (!jinja_is(p, T_BLOCK_END) && !jinja_is(p, T_EOF))
        p->at++;
    return n;
}

static struct jnode *parse_break(struct jinja_parser *p, int line) {
    return jinja_node(p, N_BREAK, line);
}

static struct jnode *parse_continue(struct jinja_parser *p, int line) {
    return jinja_node(p, N_CONTINUE, line);
}

static struct jnode *parse_generation(struct jinja_parser *p, int line) {
    return scope(p, line, "endgeneration");
}

static struct jnode *parse_statement(struct jinja_parser *p) {
    static const struct {
        const char *name;
        struct jnode *(*parse)(struct jinja_parser *p, int line);
    } statements[] = {{"for", parse_for},
                      {"if", parse_if},
                      {"set", parse_set},
                      {"macro", parse_macro},
                      {"call", parse_call},
                      {"filter", parse_filter_block},
                      {"with", parse_with},
                      {"block", parse_named_block},
                      {"print", parse_print},
                      {"break", parse_break},
                      {"continue", parse_continue},
                      {"generation", parse_generation},
                      {"autoescape", parse_autoescape},
                      {"extends", parse_loader},
                      {"include", parse_loader},
                      {"import", parse_loader},
                      {"from", parse_loader}};
    struct jtoken *t = jinja_expect(p, T_NAME);
    struct jnode *n = NULL;
    for (size_t i = 0; i < sizeof statements / sizeof *statements && !n && !p->failed; i++)
        if (str_eq(t->text, statements[i].name))
            n = statements[i].parse(p, t->line);
    if (!n)
        jinja_syntax(p, t->line, "unknown tag '%.*s'", t->text.n > 60 ? 60 : (int)t->text.n,
                     t->text.p);
    jinja_expect(p, T_BLOCK_END);
    return n;
}

static bool at_end(struct jinja_parser *p, const char *const *ends) {
    for (; ends && *ends; ends++)
        if (jinja_is_name(p, *ends))
            return true;
    return false;
}

static struct jnode *data(struct jinja_parser *p, struct jtoken *t) {
    struct jnode *n = jinja_node(p, N_DATA, t->line);
    struct jtext *s = arena_alloc(&p->t->arena, sizeof *s);
    *s = (struct jtext){.p = t->text.p, .n = t->text.n, .trust = TRUST_ALL};
    n->value = jv_text(s);
    return n;
}

/* Parses statements up to a tag named in `ends` (NULL: up to the end of the template). That tag's
 * name is not consumed. */
static struct jnode *parse_body(struct jinja_parser *p, const char *const *ends) {
    struct jnode *body = jinja_node(p, N_BODY, jinja_peek(p)->line);
    if (!jinja_enter(p))
        return body;
    while (!p->failed && !jinja_is(p, T_EOF)) {
        struct jtoken *t = jinja_peek(p);
        p->at++;
        if (t->type == T_DATA) {
            if (t->text.n)
                jinja_add_kid(p, body, data(p, t));
        } else if (t->type == T_VARIABLE_BEGIN) {
            struct jnode *n = jinja_node(p, N_OUTPUT, t->line);
            jinja_add_kid(p, n, jinja_tuple(p, true, false, NULL));
            jinja_expect(p, T_VARIABLE_END);
            jinja_add_kid(p, body, n);
        } else if (at_end(p, ends)) {
            break;
        } else {
            struct jnode *n = parse_statement(p);
            if (n)
                jinja_add_kid(p, body, n);
        }
    }
    p->depth--;
    return body;
}

/* Copies the source with \n as newlines and without a newline at its end. */
static struct str normalize(struct arena *arena, struct str s) {
    char *out = arena_alloc(arena, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool cr = s.p[i] == '\r';
        if (cr && i + 1 < s.n && s.p[i + 1] == '\n')
            i++;
        out[n++] = cr ? '\n' : s.p[i];
    }
    if (n && out[n - 1] == '\n')
        n--;
    return (struct str){out, n};
}

struct jinja_template *jinja_parse(const char *name, struct str source, struct err *e) {
    size_t good = utf8_valid(source.p, source.n);
    if (good != source.n) {
        err_set(e, EXIT_DATA, "the template is not valid UTF-8: %s: byte %zu", name, good);
        return NULL;
    }
    struct jinja_template *t = xcalloc(1, sizeof *t);
    struct jinja_parser p = {.t = t, .e = e};
    int line = 1;
    t->name = xstrdup(name);
    t->source = normalize(&t->arena, source);
    if (jinja_lex(t->source, &t->arena, &p.tokens, &line, e) < 0) {
        err_where(e, "%s: line %d", name, line);
        p.failed = true;
    } else {
        t->root = parse_body(&p, NULL);
        p.failed = p.failed || !jinja_check(&p, t->root);
    }
    free(p.tokens);
    if (!p.failed)
        return t;
    jinja_template_free(t);
    return NULL;
}

void jinja_template_free(struct jinja_template *t) {
    if (!t)
        return;
    arena_free(&t->arena);
    free(t->syms);
    free(t->name);
    free(t);
}
