/* Values of the Jinja interpreter: Python's data types, as far as a template can tell them apart.
 *
 * A struct jvalue is small and passed by value. Its data is in the rendering's arena. Data never
 * changes once made, except in namespaces, loops and iterators. A function that can fail takes the
 * interpreter, sets the error there (jinja_fail) and returns a placeholder value.
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

enum jkind {
    V_MISSING, // no value: an argument that was not given
    V_UNDEF,
    V_NONE,
    V_BOOL,
    V_INT,
    V_BIG, // an integer past 64 bits, as its digits: it can be printed and compared
    V_FLOAT,
    V_STR,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_RANGE,
    V_VIEW, // dict.keys(), .values(), .items()
    V_GEN,  // a lazy iterator; one pass uses it up
    V_NAMESPACE,
    V_MACRO,
    V_LOOP,
    V_METHOD,
    V_FUNCTION,
    V_CYCLER,
    V_JOINER,
};

struct jvalue {
    uint8_t kind;
    // The value came from untrusted data: its printed form is not the template's text. Strings know
    // this for each byte.
    bool foreign;
    uint8_t sub; // V_VIEW: enum jview; V_TUPLE: TUPLE_GROUP for an item of |groupby
    union {
        bool b;
        int64_t i;
        double f;
        struct jtext *s; // V_STR, V_BIG
        struct jlist *l; // V_LIST, V_TUPLE
        struct jdict *d; // V_DICT, V_VIEW, V_NAMESPACE
        struct jrange *range;
        struct jundef *undef; // may be NULL
        struct jgen *gen;
        struct jmacro *macro;
        struct jloop *loop;
        struct jmethod *method;
        const struct jfunction *function;
        struct jcycle *cycle; // V_CYCLER, V_JOINER
    };
};

enum jview { VIEW_KEYS, VIEW_VALUES, VIEW_ITEMS };
enum { TUPLE_GROUP = 1 };

struct jlist {
    struct jvalue *v; // [n]
    size_t n, cap;
    struct jtext *as_text; // see jv_set_text
};

struct jpair {
    struct jvalue key, value;
};

struct jdict {
    struct jpair *pairs; // [n], in the order of insertion
    size_t n, cap;
    // [slots] number of a pair + 1, 0 if empty. NULL while there are few pairs.
    uint32_t *index;
    size_t slots;          // a power of two
    struct jtext *as_text; // see jv_set_text
};

struct jrange {
    int64_t start, stop, step, n;
};

struct jundef {          // an undefined value: the error that its use is
    const char *message; // '@' is replaced by type, '#' by name
    const char *type;
    struct str name;
};

struct jmethod {
    struct jvalue self;
    const struct jmethod_info *info;
};

struct jcycle {
    struct jlist *items; // the items of a cycler, or the separator of a joiner
    size_t pos;
};

/* Making values. */
struct jvalue jv_none(void);
struct jvalue jv_bool(bool b);
struct jvalue jv_int(int64_t i);
struct jvalue jv_float(double f);
struct jvalue jv_text(struct jtext *s);
struct jvalue jv_str(struct jinja *in, const char *s); // trusted text
struct jvalue jv_undef(struct jinja *in, const char *message, const char *type, struct str name);
struct jvalue jv_list(struct jinja *in, enum jkind kind, size_t cap); // V_LIST or V_TUPLE, empty
void jv_push(struct jinja *in, struct jlist *l, struct jvalue v);
struct jvalue jv_pair(struct jinja *in, struct jvalue a, struct jvalue b); // a tuple of two
struct jvalue jv_dict(struct jinja *in);
// The key must be hashable.
void jv_put(struct jinja *in, struct jdict *d, struct jvalue key, struct jvalue v);
struct jvalue *jv_get(struct jinja *in, const struct jdict *d,
                      struct jvalue key); // NULL: no such key
struct jvalue *jv_get_str(struct jinja *in, const struct jdict *d, struct str key);

/* Gives a list or dict a text of its own. Where a template uses the value as a string, in output,
 * +,
 * ~, a string filter or a string method, it gets this text instead of Python's repr. Everywhere
 * else the value is a list or dict. A copy has no such text. */
void jv_set_text(struct jvalue v, struct jtext *text);
struct jtext *jv_own_text(struct jvalue v); // NULL: it has none

/* Properties of a value. */
static inline bool jv_is_str(struct jvalue v) {
    return v.kind == V_STR;
}
bool jv_is_number(struct jvalue v);                  // bool included, as in Python
bool jv_int_of(struct jvalue v, int64_t *i);         // false unless int or bool
bool jv_float_of(struct jvalue v, double *f);        // false unless a number
const char *jv_type(struct jvalue v);                // Python's name of its type
bool jv_hashable(struct jinja *in, struct jvalue v); // false with the error set
bool jv_truth(struct jinja *in, struct jvalue v);
bool jv_same(struct jvalue a, struct jvalue b); // Python's `is`
bool jv_equal(struct jinja *in, struct jvalue a, struct jvalue b);
// Returns < 0, 0, > 0, or 2 if unordered (NaN).
int jv_order(struct jinja *in, struct jvalue a, struct jvalue b, const char *op);
// False if the value has no length; no error is set.
bool jv_len(struct jinja *in, struct jvalue v, int64_t *n);

/* str() and repr(). */
struct jtext *jv_to_str(struct jinja *in, struct jvalue v);
struct jtext *jv_repr(struct jinja *in, struct jvalue v);
void jv_float_text(double f, char out[40]); // Python's repr of a float

#endif
