/* One rendering, as its parts see it: limits, errors, scopes, calls and iteration.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_RUN_H
#define JINJA_RUN_H

#include "base/err.h"
#include "jinja/node.h"
#include "jinja/value.h"

#define JINJA_MAX_MEMORY ((size_t)1 << 30) // bytes of values in one rendering
#define JINJA_MAX_TEXT   ((size_t)1 << 28) // bytes of one string, the rendered text too
enum {
    JINJA_MAX_STEPS = 200000000, // nodes evaluated, items passed over, characters changed, 64 bytes
                                 // compared: one step each
    JINJA_MAX_DEPTH = 1000,      // nested evaluations
    JINJA_MAX_NESTING = 200,     // of the template's own blocks and brackets
    JINJA_MAX_RANGE = 100000,    // items of range(), as in jinja2's sandbox
};

struct binding {
    uint32_t sym;
    struct value v;
};

/* A scope: loop bodies, macros and captured blocks have their own, and see the ones around them. */
struct env {
    struct env *parent;
    struct binding *vars; // [n]
    uint32_t n, cap;
    bool kept; // a macro sees it, so a loop cannot use it again
};

enum flow { FLOW_NONE, FLOW_BREAK, FLOW_CONTINUE };

struct jinja {
    const struct jinja_template *t;
    struct arena arena;
    size_t memory;
    uint64_t steps;
    int depth;
    int line; // of what is being evaluated
    bool failed;
    bool raised; // by raise_exception: the message is the template's own
    struct err err;
    struct env *root; // the variables; its parent holds the built-in functions
    struct build *out;
    enum flow flow;
    unsigned char hash_key[16];
};

/* The first error is kept. The message is written as Python's "TypeError: ..."; place and line are
 * added later. */
struct value jinja_fail(struct jinja *in, const char *fmt, ...) PRINTF_LIKE(2, 3);
struct value jinja_undefined(struct jinja *in,
                             struct value v); // the error that using an undefined value is
void *jinja_alloc(struct jinja *in,
                  size_t n); // zeroed; counted. NULL never: past the limit it fails and gives a
                             // last small block only where n is small, so check in->failed first
bool jinja_room(struct jinja *in,
                size_t n); // false with the error set where n more bytes are too many
bool jinja_steps(struct jinja *in,
                 size_t n);          // counts; false with the error set when there were too many
bool jinja_deeper(struct jinja *in); // every true is followed by in->depth--

/* Arguments of a call, in order. */
struct args {
    struct value *pos; // [n]
    size_t n;
    struct str *names; // [n_kw]
    struct value *kw;  // [n_kw]
    size_t n_kw;
};

/* Puts arguments into out[] by the names in params, divided by spaces ("width first blank"); those
 * not given are V_MISSING. min: how many are required. False with a TypeError in who's name. */
enum { JINJA_MAX_PARAMS = 6 };
bool jinja_bind(struct jinja *in, const char *who, const char *params, size_t min,
                const struct args *a, struct value out[JINJA_MAX_PARAMS]);
/* Arguments of a built-in, unpacked: with a default, or the error set. */
int64_t jinja_arg_int(struct jinja *in, struct value v, int64_t otherwise);
bool jinja_arg_bool(struct jinja *in, struct value v, bool otherwise);
struct jtext *jinja_arg_str(struct jinja *in, struct value v, const char *otherwise);

/* What a template can call: functions of the environment, methods, macros. */
struct function {
    const char *name;
    struct value (*call)(struct jinja *in, const struct args *a);
};
struct method_info {
    const char *name, *params; // NULL: the method takes args itself
    size_t min;
    struct value (*call)(struct jinja *in, struct value self, const struct value *a);
    struct value (*call_args)(struct jinja *in, struct value self, const struct args *a);
};
struct filter {
    const char *name, *params;
    size_t min;
    struct value (*call)(struct jinja *in, struct value self, const struct value *a);
    struct value (*call_args)(struct jinja *in, struct value self, const struct args *a);
};
const struct filter *jinja_filter(struct str name); // NULL: none of that name
struct value jinja_call_filter(struct jinja *in, struct str name, struct value self,
                               const struct args *a);
bool jinja_test_exists(struct str name);
bool jinja_call_test(struct jinja *in, struct str name, struct value self, const struct args *a);
struct value jinja_call(struct jinja *in, struct value callee, const struct args *a);
extern const struct function jinja_functions[]; // ends with a NULL name

/* Attributes and items as jinja2's sandbox gives them: never more than data and the methods of
 * data. */
struct value jinja_getattr(struct jinja *in, struct value obj, struct str name);
struct value jinja_getitem(struct jinja *in, struct value obj, struct value key);
struct value jinja_slice(struct jinja *in, struct value obj, const struct value bounds[3]);
struct value jinja_subscript(struct jinja *in, struct value obj, struct value key,
                             bool *found); // obj[key] itself
const struct method_info *jinja_str_method(struct str name);
const struct method_info *jinja_data_method(enum kind kind, struct str name);
/* "a.b.0" as the filters' attribute arguments mean it. */
struct value jinja_path(struct jinja *in, struct value obj, struct value path,
                        struct value otherwise);

/* Operators. op is a T_ of jinja_lex.h. */
struct value jinja_binary(struct jinja *in, uint8_t op, struct value a, struct value b);
struct value jinja_too_large(struct jinja *in); // the refusal of an integer past 64 bits
struct value jinja_negate(struct jinja *in, struct value v, bool minus);
bool jinja_compare(struct jinja *in, uint8_t op, struct value a, struct value b);
bool jinja_contains(struct jinja *in, struct value item, struct value container);
struct value jinja_percent(struct jinja *in, struct jtext *format, struct value v); // "%d" % v
struct value jinja_format(struct jinja *in, struct jtext *format,
                          const struct args *a); // "{}".format(v)
struct jtext *jinja_format_float(struct jinja *in, double f, int precision, char type,
                                 bool alternate);

/* Iteration. */
struct iter {
    struct value src;
    size_t pos;
    struct gen *gen; // of V_GEN
};
struct gen {
    bool (*next)(struct jinja *in, struct gen *g, struct value *v); // false: no more, or failed
    const char *type;                                               // as Python names it
    struct iter src;
    bool started, ended;
    struct value state[4];
    struct args args;
    int64_t count;
    struct str name;
};
bool jinja_iter(struct jinja *in, struct value v, struct iter *it); // false with "not iterable"
bool jinja_next(struct jinja *in, struct iter *it, struct value *v);
bool jinja_iterable(struct value v);
struct value jinja_gen(struct jinja *in, const char *type,
                       bool (*next)(struct jinja *, struct gen *, struct value *),
                       struct value src);
struct value jinja_to_list(struct jinja *in, struct value v, enum kind kind); // list(v)
struct value jinja_reversed(struct jinja *in, struct value v);
void jinja_sort(struct jinja *in, struct value *v, struct value *keys, size_t n,
                bool reverse); // stable

/* Evaluation. */
struct loop {
    struct iter src;
    struct value iterable;
    const struct node *node;                      // N_FOR
    struct env *env;                              // around it
    int64_t index0, length;                       // -1 while not known
    struct value ahead, current, before, changed; // V_MISSING: none
    int64_t depth0;
    bool tested; // the rest has been tested and listed
};
struct macro {
    const struct node *node; // N_MACRO
    struct env *env;         // around it
};
struct value jinja_eval(struct jinja *in, struct env *env, const struct node *n);
void jinja_exec(struct jinja *in, struct env *env, const struct node *n);
struct env *jinja_scope(struct jinja *in, struct env *parent);
void jinja_bind_name(struct jinja *in, struct env *env, uint32_t sym, struct value v);
bool jinja_assign(struct jinja *in, struct env *env, const struct node *target, struct value v);
bool jinja_eval_args(struct jinja *in, struct env *env, const struct node *n, uint32_t first,
                     struct args *a);
struct value jinja_call_macro(struct jinja *in, const struct macro *m, const struct args *a);
struct value jinja_call_loop(struct jinja *in, struct loop *l, const struct args *a);
struct value jinja_loop_attr(struct jinja *in, struct loop *l, struct str name);
bool jinja_loop_length(struct jinja *in, struct loop *l, int64_t *n);
struct jtext *jinja_capture(struct jinja *in, struct env *env, const struct node *body);

/* json.dumps, as transformers' tojson calls it. */
struct value jinja_to_json(struct jinja *in, struct value v, const struct value *a);

/* Letters. */
struct jtext *jinja_upper(struct jinja *in, const struct jtext *t);
struct jtext *jinja_lower(struct jinja *in, const struct jtext *t);
struct jtext *jinja_title(struct jinja *in, const struct jtext *t);
struct jtext *jinja_capitalize(struct jinja *in, const struct jtext *t);
struct jtext *jinja_swapcase(struct jinja *in, const struct jtext *t);
struct jtext *jinja_casefold(struct jinja *in, const struct jtext *t);
bool jinja_is_cased(struct jinja *in, const struct jtext *t, bool upper); // isupper, islower
bool jinja_is_title(struct jinja *in, const struct jtext *t);
bool jinja_is_alpha(uint32_t cp);
bool jinja_is_decimal(uint32_t cp);
bool jinja_is_digit(uint32_t cp);
bool jinja_is_numeric(uint32_t cp);
bool jinja_is_printable(uint32_t cp);
struct jtext *jinja_escape(struct jinja *in, const struct jtext *t); // HTML; what is markup stays

#endif
