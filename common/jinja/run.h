/* One rendering, as the parts of the interpreter see it: limits, errors, scopes, calls and
 * iteration.
 *
 * A function that can fail sets in->failed through jinja_fail and returns some value. Its caller
 * checks in->failed before it goes on. All memory comes from the rendering's arena.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_RUN_H
#define JINJA_RUN_H

#include "base/err.h"
#include "jinja/node.h"
#include "jinja/value.h"

#define JINJA_MAX_TEXT ((size_t)1 << 28) // bytes of one string, the rendered text too
enum {
    JINJA_MAX_DEPTH = 1000,   // nested evaluations
    JINJA_MAX_NESTING = 200,  // the template's nested blocks and brackets
    JINJA_MAX_RANGE = 100000, // items of range(), as in jinja2's sandbox
};

struct jbinding {
    uint32_t sym;
    struct jvalue v;
};

/* A scope. Loop bodies, macros and captured blocks have scopes of their own, and see those around
 * them. */
struct jenv {
    struct jenv *parent;
    struct jbinding *vars; // [n]
    uint32_t n, cap;
    bool kept; // a macro uses it, so a loop must not reuse it
};

enum jflow { FLOW_NONE, FLOW_BREAK, FLOW_CONTINUE };

struct jinja {
    const struct jinja_template *t;
    struct arena arena;
    size_t memory, max_memory; // bytes of values
    // One step is a node evaluated, an item visited, a character changed or 64 bytes compared.
    uint64_t steps, max_steps;
    int depth;
    int line; // the line that is being evaluated
    bool failed;
    bool raised; // set by raise_exception: the message is the template's
    struct err err;
    struct jenv *root; // the variables; the parent scope has the built-in functions
    struct jbuild *out;
    enum jflow flow;
    unsigned char hash_key[16];
};

/* Sets the error, unless one is set. Messages are written as Python's: "TypeError: ...". The
 * template's name and the line are added. */
struct jvalue jinja_fail(struct jinja *in, const char *fmt, ...) PRINTF_LIKE(2, 3);
// Sets the error for using an undefined value.
struct jvalue jinja_undefined(struct jinja *in, struct jvalue v);
// Returns n zeroed bytes and counts them; never NULL. Past the limit it sets the error and still
// returns the bytes, so use jinja_room first if n can be large.
void *jinja_alloc(struct jinja *in, size_t n);
// Whether n more bytes are allowed; false with the error set.
bool jinja_room(struct jinja *in, size_t n);
// Counts n steps; false with the error set if they were too many.
bool jinja_steps(struct jinja *in, size_t n);
// Goes one level deeper. After true, decrement in->depth when done.
bool jinja_deeper(struct jinja *in);

/* The arguments of a call, in order. */
struct jargs {
    struct jvalue *pos; // [n]
    size_t n;
    struct str *names; // [n_kw]
    struct jvalue *kw; // [n_kw]
    size_t n_kw;
};

/* Assigns arguments to out[] by the names in params, separated by spaces ("width first blank").
 * Parameters without an argument become V_MISSING. The first `min` are required. False with a
 * TypeError that names `who`. */
enum { JINJA_MAX_PARAMS = 6 };
bool jinja_bind(struct jinja *in, const char *who, const char *params, size_t min,
                const struct jargs *a, struct jvalue out[JINJA_MAX_PARAMS]);
/* Converts an argument of a built-in function. A missing one gives the default; a wrong type sets
 * the error. */
int64_t jinja_arg_int(struct jinja *in, struct jvalue v, int64_t otherwise);
bool jinja_arg_bool(struct jinja *in, struct jvalue v, bool otherwise);
struct jtext *jinja_arg_str(struct jinja *in, struct jvalue v, const char *otherwise);

/* The things that a template can call: functions, methods, filters, tests and macros. */
struct jfunction {
    const char *name;
    struct jvalue (*call)(struct jinja *in, const struct jargs *a);
};
struct jmethod_info {
    const char *name, *params; // params: NULL if call_args is used
    size_t min;
    struct jvalue (*call)(struct jinja *in, struct jvalue self, const struct jvalue *a);
    struct jvalue (*call_args)(struct jinja *in, struct jvalue self, const struct jargs *a);
};
struct jfilter {
    const char *name, *params;
    size_t min;
    struct jvalue (*call)(struct jinja *in, struct jvalue self, const struct jvalue *a);
    struct jvalue (*call_args)(struct jinja *in, struct jvalue self, const struct jargs *a);
};
const struct jfilter *jinja_filter(struct str name); // NULL if there is no such filter
struct jvalue jinja_call_filter(struct jinja *in, struct str name, struct jvalue self,
                                const struct jargs *a);
bool jinja_test_exists(struct str name);
bool jinja_call_test(struct jinja *in, struct str name, struct jvalue self, const struct jargs *a);
struct jvalue jinja_call(struct jinja *in, struct jvalue callee, const struct jargs *a);
extern const struct jfunction jinja_functions[]; // ends with a NULL name
struct jvalue jinja_strftime_now(struct jinja *in, const struct jargs *a);

/* Attributes and items, as jinja2's sandbox gives them: data and methods of data, nothing else. */
struct jvalue jinja_getattr(struct jinja *in, struct jvalue obj, struct str name);
struct jvalue jinja_getitem(struct jinja *in, struct jvalue obj, struct jvalue key);
struct jvalue jinja_slice(struct jinja *in, struct jvalue obj, const struct jvalue bounds[3]);
// Returns obj[key] alone, without attributes. Never fails; *found tells if there is one.
struct jvalue jinja_subscript(struct jinja *in, struct jvalue obj, struct jvalue key, bool *found);
const struct jmethod_info *jinja_str_method(struct str name);
const struct jmethod_info *jinja_data_method(enum jkind kind, struct str name);
/* Follows a path such as "a.b.0", as the attribute arguments of filters mean it. */
struct jvalue jinja_path(struct jinja *in, struct jvalue obj, struct jvalue path,
                         struct jvalue otherwise);

/* Operators. op is a T_ constant of lex.h. */
struct jvalue jinja_binary(struct jinja *in, uint8_t op, struct jvalue a, struct jvalue b);
struct jvalue jinja_too_large(struct jinja *in); // refuses an integer past 64 bits
struct jvalue jinja_negate(struct jinja *in, struct jvalue v, bool minus);
bool jinja_compare(struct jinja *in, uint8_t op, struct jvalue a, struct jvalue b);
bool jinja_contains(struct jinja *in, struct jvalue item, struct jvalue container);
struct jvalue jinja_percent(struct jinja *in, struct jtext *format, struct jvalue v); // "%d" % v
struct jvalue jinja_format(struct jinja *in, struct jtext *format,
                           const struct jargs *a); // "{}".format(v)
struct jtext *jinja_format_float(struct jinja *in, double f, int precision, char type,
                                 bool alternate);

/* Iteration. */
struct jiter {
    struct jvalue src;
    size_t pos;
    struct jgen *gen; // for V_GEN
};
struct jgen {
    bool (*next)(struct jinja *in, struct jgen *g,
                 struct jvalue *v); // false: no more items, or the error is set
    const char *type;               // as Python names it
    struct jiter src;
    bool started, ended;
    struct jvalue state[4];
    struct jargs args;
    int64_t count;
    struct str name;
};
bool jinja_iter(struct jinja *in, struct jvalue v,
                struct jiter *it); // false with the error "not iterable"
bool jinja_next(struct jinja *in, struct jiter *it, struct jvalue *v);
bool jinja_iterable(struct jvalue v);
struct jvalue jinja_gen(struct jinja *in, const char *type,
                        bool (*next)(struct jinja *, struct jgen *, struct jvalue *),
                        struct jvalue src);
struct jvalue jinja_to_list(struct jinja *in, struct jvalue v, enum jkind kind); // list(v)
struct jvalue jinja_reversed(struct jinja *in, struct jvalue v);
void jinja_sort(struct jinja *in, struct jvalue *v, struct jvalue *keys, size_t n,
                bool reverse); // stable

/* Evaluation. */
struct jloop {
    struct jiter src;
    struct jvalue iterable;
    const struct jnode *node;                      // N_FOR
    struct jenv *env;                              // the scope around it
    int64_t index0, length;                        // -1 while unknown
    struct jvalue ahead, current, before, changed; // V_MISSING: none
    int64_t depth0;
    bool tested; // the remaining items have passed the test and are in a list
};
struct jmacro {
    const struct jnode *node; // N_MACRO
    struct jenv *env;         // the scope around it
};
struct jvalue jinja_eval(struct jinja *in, struct jenv *env, const struct jnode *n);
void jinja_exec(struct jinja *in, struct jenv *env, const struct jnode *n);
struct jenv *jinja_scope(struct jinja *in, struct jenv *parent);
void jinja_bind_name(struct jinja *in, struct jenv *env, uint32_t sym, struct jvalue v);
bool jinja_assign(struct jinja *in, struct jenv *env, const struct jnode *target, struct jvalue v);
bool jinja_eval_args(struct jinja *in, struct jenv *env, const struct jnode *n, uint32_t first,
                     struct jargs *a);
struct jvalue jinja_call_macro(struct jinja *in, const struct jmacro *m, const struct jargs *a);
struct jvalue jinja_call_loop(struct jinja *in, struct jloop *l, const struct jargs *a);
struct jvalue jinja_loop_attr(struct jinja *in, struct jloop *l, struct str name);
bool jinja_loop_length(struct jinja *in, struct jloop *l, int64_t *n);
struct jtext *jinja_capture(struct jinja *in, struct jenv *env, const struct jnode *body);

/* json.dumps, as the tojson of transformers calls it. */
struct jvalue jinja_to_json(struct jinja *in, struct jvalue v, const struct jvalue *a);

/* Letter case and character classes (case.c). */
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
struct jtext *jinja_escape(struct jinja *in, const struct jtext *t); // escapes HTML; markup stays

#endif
