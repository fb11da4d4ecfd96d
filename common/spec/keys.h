/* The members of a JSON configuration, and the tables that say which field of a struct each of them
 * fills.
 *
 * The file is untrusted: types and ranges are checked, duplicate keys are refused, and every
 * refusal names the key, its value and the file. Members that neither a table nor a caller has used
 * are warned about.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_KEYS_H
#define SPEC_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"

enum key_kind {
    KEY_SIZE,          // size_t, a whole number in [1, max]; null is 0
    KEY_COUNT,         // size_t, a whole number in [0, max]; null is 0
    KEY_REAL,          // double, 1e-9 < value < 1e15; null is 0
    KEY_FLOAT,         // float, the same
    KEY_EPS,           // float, 0 <= value < 1
    KEY_TRUE,          // bool: field = value; what is false in Python is false, and 1 is true
    KEY_FALSE,         // bool: field = !value
    KEY_ACT,           // enum activation by its name; null leaves the field alone
    KEY_OTHER,         // read by other code, or harmless here
    KEY_ONLY_TRUE,     // any other value is refused
    KEY_ONLY_FALSE,    // what is false in Python; any other value is refused
    KEY_ONLY_ABSOLUTE, // "absolute" or null; any other value is refused
    KEY_ONLY_SWIGLU,   // "swiglu" or null; any other value is refused
};

struct key { // a table of them ends with a NULL name
    const char *name;
    enum key_kind kind;
    size_t at;  // offset of the field
    size_t max; // KEY_SIZE, KEY_COUNT
};

struct keys_member {
    struct str key, raw; // raw: the value's bytes, in the file
    bool used;
};

struct keys_object {
    struct keys_member *members; // owned
    size_t n;
};

struct keys_reader {
    const char *path;
    const char *text; // the file
    struct arena mem; // keys
    struct buf *warnings;
    struct err *e;
};

/* Reads text[0..n), which must be one object. path is for messages. Close with keys_close, also
 * after -1. */
int keys_open(struct keys_reader *r, const char *path, const char *text, size_t n,
              struct keys_object *o);
void keys_close(struct keys_reader *r, struct keys_object *o);

/* A parser at the member's value. */
struct json keys_value(struct keys_reader *r, const struct keys_member *m);

/* The members of a member that must be an object; the caller frees o->members. After -1 o is empty.
 */
int keys_read_object(struct keys_reader *r, const struct keys_member *m, struct keys_object *o);

struct keys_member *keys_member_find(const struct keys_object *o, const char *key);

/* As keys_member_find, and marks the member as used. NULL also for null. */
struct keys_member *keys_member_take(const struct keys_object *o, const char *key);

bool keys_member_is(const struct keys_member *m, const char *json); // its bytes are exactly these
bool keys_member_false(const struct keys_member *m); // false in Python: null, false, 0, "", [], {}
bool keys_member_one(const struct keys_member *m);   // the number 1

/* "KEY is VALUE, but EXPECTED: FILE"; returns -1. */
int keys_refuse(struct keys_reader *r, const struct keys_member *m, const char *expected);
void keys_warn_member(struct keys_reader *r, const struct keys_member *m, const char *inside,
                      const char *what);

bool keys_has(const struct key *keys, struct str name);

/* Each member whose key is in the table sets its field in the struct at base, or both fields if the
 * table has the key twice. skip_used: skips members that were used before. */
int keys_apply(struct keys_reader *r, const struct key *keys, const struct keys_object *o,
               void *base, bool skip_used);

/* Warns about every unused member. inside: the name of the object o; NULL for the file's own. */
void keys_warn_unused(struct keys_reader *r, const struct keys_object *o, const char *inside);

#endif
