/* A JSON pull parser (RFC 8259) over bytes in memory, and a string writer.
 *
 * The caller walks the document in its own order and skips what it does not want:
 *
 *     json_enter_object(&j);
 *     while (json_key(&j, &key))
 *         if (str_eq(key, "eos_token_id")) n = json_u64(&j);
 *         else json_skip(&j);
 *     if (json_failed(&j)) return -1;
 *
 * Only the first error counts: after it every call returns an empty value, every loop ends, and
 * json_failed is true. Messages name the file, line and byte. Strings without escapes are views
 * into the input; others live in the parser's arena until json_free. Strings must be valid UTF-8,
 * and \u escapes whole surrogate pairs. Nesting is bounded by JSON_MAX_DEPTH. Duplicate keys are
 * the caller's to refuse.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"

enum { JSON_MAX_DEPTH = 256 };

enum json_type {
    JSON_ERROR,
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json {
    const char *name; // of the input, for messages; NULL: they have only the byte
    const char *start, *p, *end;
    struct err *e;        // where the first error is written
    struct arena strings; // unescaped strings
    int depth;
    bool failed;
    bool fresh;  // just after '[' or '{'
    bool python; // set after json_init: NaN, Infinity and -Infinity are numbers too, as Python
                 // writes them
    unsigned char is_object[JSON_MAX_DEPTH];
};

void json_init(struct json *j, const char *name, const char *p, size_t n, struct err *e);
void json_free(struct json *j); // frees the strings that it returned

enum json_type json_peek(struct json *j); // of the next value; consumes only white space

bool json_enter_object(struct json *j);
/* The same of an object or null, which is consumed: then false. */
bool json_enter_object_or_null(struct json *j);
/* False after the last member, with the '}' consumed. */
bool json_key(struct json *j, struct str *key);
bool json_enter_array(struct json *j);
bool json_item(struct json *j); // false after the last item, with the ']' consumed

struct str json_str(struct json *j);
/* Does not check that the string is UTF-8: to be compared with valid strings. */
struct str json_str_unchecked(struct json *j);
bool json_bool(struct json *j);
double json_f64(struct json *j);
int64_t json_i64(struct json *j); // a whole number in range, "1.0" is refused
uint64_t json_u64(struct json *j);
bool json_null(struct json *j);       // true, and consumed, if the next value is null
struct str json_skip(struct json *j); // any value, checked; returns its bytes

bool json_end(struct json *j); // nothing but white space is left; an error otherwise
bool json_failed(const struct json *j);
/* Refuses what the caller has just read: "MESSAGE: FILE: line L, byte B". */
void json_refuse(struct json *j, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Appends s as a JSON string with quotes. ASCII control bytes, '"' and '\\' are escaped, all other
 * bytes are copied. s must be valid UTF-8. */
void json_write_str(struct buf *out, struct str s);

/* Appends a number with 9 digits. JSON has no NaN and no infinity: they become null. */
void json_write_f64(struct buf *out, double v);

#endif
