/* The members of a JSON configuration, and the tables that say which field of a struct each of them fills.
 *
 * The file is a stranger's: types and ranges are checked, keys that stand twice are refused, and every
 * refusal names the key, its value and the file. Members that no table and no caller took are warned about.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_KEYS_H
#define SPEC_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/json.h"

enum key_kind {
    KEY_SIZE,   // size_t, a whole number in [1, max]; null is 0
    KEY_COUNT,  // size_t, a whole number in [0, max]; null is 0
    KEY_REAL,   // double, > 0 and within reason; null is 0
    KEY_FLOAT,  // float, likewise
    KEY_EPS,    // float, 0 <= value < 1
    KEY_TRUE,   // bool: field = value; what Python calls false is false, and 1 is true
    KEY_FALSE,  // bool: field = !value
    KEY_ACT,    // enum activation by its name; null leaves the field alone
    KEY_OTHER,  // read by other code, or harmless here
    ONLY_TRUE,  // any other value is refused
    ONLY_FALSE, // what Python calls false; any other value is refused
};

struct key { // a table of them ends with a NULL name
    const char *name;
    enum key_kind kind;
    size_t at;  // offset of the field
    size_t max; // KEY_SIZE, KEY_COUNT
};

struct member {
    struct str key, raw; // raw: the value's bytes, in the file
    bool used;
};

struct object {
    struct member *members; // owned
    size_t n;
};

struct reader {
    const char *path;
    const char *text; // the file
    struct arena mem; // keys
    struct buf *warnings;
    struct err *e;
};

/* Reads the object that text[0..n) is; path is for messages. End with reader_close, also after -1. */
int reader_open(struct reader *r, const char *path, const char *text, size_t n, struct object *o);
void reader_close(struct reader *r, struct object *o);

struct json value_of(struct reader *r, const struct member *m); // a parser that stands before it
int read_object(struct reader *r, const struct member *m, struct object *o); // a member that is an object

struct member *member_find(const struct object *o, const char *key);
struct member *member_take(const struct object *o, const char *key); // marked as used; NULL also for null
bool member_is(const struct member *m, const char *json);            // its bytes are exactly these
bool member_false(const struct member *m);                           // Python: not value (null, false, 0, "", [], {})
bool member_one(const struct member *m);                             // the number 1

/* "KEY is VALUE, but EXPECTED: FILE"; returns -1. */
int refuse(struct reader *r, const struct member *m, const char *expected);
void warn_member(struct reader *r, const struct member *m, const char *inside, const char *what);

bool has_key(const struct key *keys, struct str name);

/* Every key of the table that the object has fills its field in the struct at base; a key that stands twice
 * in the table fills both. skip_used: but for members that were used before. */
int apply_keys(struct reader *r, const struct key *keys, const struct object *o, void *base,
               bool skip_used);

/* A line for every member that nobody used; inside names the object that o is (NULL: the file's). */
void warn_unused(struct reader *r, const struct object *o, const char *inside);

#endif
