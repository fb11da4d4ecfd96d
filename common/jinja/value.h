/* Values of the Jinja interpreter: Python's data types, as far as a template can tell them apart.
 *
 * Everything lives in the rendering's arena and is immutable once made, but for namespaces, loops
 * and iterators. A struct value is passed by value. Functions that can fail take the interpreter,
 * leave the error there (jinja_fail) and return the undefined value.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef JINJA_VALUE_H
#define JINJA_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "jinja/text.h"

struct jinja;

enum kind {
    V_MISSING, // no value at all: an argument that was not given
    V_UNDEF,
    V_NONE,
    V_BOOL,
    V_INT,
    V_BIG, // an integer past 64 bits, kept as its digits: it can be printed and compared
    V_FLOAT,
    V_STR,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_RANGE,
    V_VIEW, // dict.keys(), .values(), .items()
    V_GEN,  // a lazy iterator, used up by one pass
    V_NAMESPACE,
    V_MACRO,
    V_LOOP,
    V_METHOD,
    V_FUNCTION,
    V_CYCLER,
    V_JOINER,
};

struct value {
    uint8_t kind;
    bool foreign; // came from untrusted data: what it prints as is not the template's text (strings
                  // say it themselves)
    uint8_t sub;  // of V_VIEW: enum view; of V_TUPLE: TUPLE_GROUP for an item of |groupby
    union {
        bool b;
        int64_t i;
        double f;
        struct jtext *s; // V_STR, V_BIG
        struct list *l;  // V_LIST, V_TUPLE
        struct dict *d;  // V_DICT, V_VIEW, V_NAMESPACE
        struct range *range;
        struct undef *undef; // may be NULL
        struct gen *gen;
        struct macro *macro;
        struct loop *loop;
        struct method *method;
        const struct function *function;
        struct cycle *cycle; // V_CYCLER, V_JOINER
    };
};

enum view { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };
enum { TUPLE_GROUP = 1 };

struct list {
    struct value *v; // [n]
    size_t n, cap;
};

struct pair {
    struct value key, value;
};

struct dict {
    struct pair *pairs; // [n], in the order of insertion
    size_t n, cap;
    uint32_t *index; // [slots] of pair number + 1, 0 for empty; NULL while there are few
    size_t slots;    // a power of two
};

struct range {
    int64_t start, stop, step, n;
};

struct undef {           // why there is no value: the error that using it is
    const char *message; // '@' stands for type, '#' for name
    const char *type;
    struct str name;
};

struct method {
    struct value self;
    const struct method_info *info;
};

struct cycle {
    struct list *items; // of a cycler; of a joiner, its separator alone
    size_t pos;
};

/* Makers. */
struct value jv_none(void);
struct value jv_bool(bool b);
struct value jv_int(int64_t i);
struct value jv_float(double f);
struct value jv_text(struct jtext *s);
struct value jv_str(struct jinja *in, const char *s); // the template's own
struct value jv_undef(struct jinja *in, const char *message, const char *type, struct str name);
struct value jv_list(struct jinja *in, enum kind kind, size_t cap); // V_LIST or V_TUPLE, empty
void jv_push(struct jinja *in, struct list *l, struct value v);
struct value jv_pair(struct jinja *in, struct value a, struct value b); // a tuple of two
struct value jv_dict(struct jinja *in);
void jv_put(struct jinja *in, struct dict *d, struct value key,
            struct value v); // the key must be hashable
struct value *jv_get(struct jinja *in, const struct dict *d, struct value key); // NULL: no such key
struct value *jv_get_str(struct jinja *in, const struct dict *d, struct str key);

/* What a value is. */
static inline bool jv_is_str(struct value v) {
    return v.kind == V_STR;
}
bool jv_is_number(struct value v);                  // bool included, as in Python
bool jv_int_of(struct value v, int64_t *i);         // int or bool
bool jv_float_of(struct value v, double *f);        // any number
const char *jv_type(struct value v);                // Python's name of its type
bool jv_hashable(struct jinja *in, struct value v); // false with the error set
bool jv_truth(struct jinja *in, struct value v);
bool jv_same(struct value a, struct value b); // Python's `is`
bool jv_equal(struct jinja *in, struct value a, struct value b);
int jv_order(struct jinja *in, struct value a, struct value b,
             const char *op);                              // <0, 0, >0; 2 unordered (NaN)
bool jv_len(struct jinja *in, struct value v, int64_t *n); // false: it has none; no error set

/* How it is written: str() and repr(). */
struct jtext *jv_to_str(struct jinja *in, struct value v);
struct jtext *jv_repr(struct jinja *in, struct value v);
void jv_float_text(double f, char out[40]); // Python's repr of a float

#endif
