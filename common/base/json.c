/* A JSON pull parser: see json.h. Every read is bounded by `end`; nothing recurses.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/json.h"

#include <math.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/num.h"
#include "base/scan.h"
#include "base/utf8.h"

void json_init(struct json *j, const char *name, const char *p, size_t n, struct err *e) {
    if (!p) // of an empty buffer
        p = "";
    *j = (struct json){.name = name, .start = p, .p = p, .end = p + n, .e = e};
}

void json_free(struct json *j) {
    arena_free(&j->strings);
}

void json_refuse(struct json *j, const char *fmt, ...) {
    if (j->failed)
        return;
    j->failed = true;
    char msg[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    size_t line = 1, byte = (size_t)(j->p - j->start);
    for (const char *q = j->start; q < j->p; q++)
        line += *q == '\n';
    if (j->name)
        err_set(j->e, EXIT_DATA, "%s: %s: line %zu, byte %zu", msg, j->name, line, byte);
    else
        err_set(j->e, EXIT_DATA, "%s: byte %zu", msg, byte);
    j->p = j->end;
}

bool json_failed(const struct json *j) {
    return j->failed;
}

static void skip_space(struct json *j) {
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\n' || *j->p == '\t' || *j->p == '\r'))
        j->p++;
}

static void expected(struct json *j, const char *what) {
    if (j->p >= j->end)
        json_refuse(j, "JSON ends where %s was expected", what);
    else
        json_refuse(j, "JSON has byte 0x%02x where %s was expected", (unsigned char)*j->p, what);
}

enum json_type json_peek(struct json *j) {
    skip_space(j);
    if (j->failed || j->p >= j->end) {
        expected(j, "a value");
        return JSON_ERROR;
    }
    switch (*j->p) {
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case '"':
        return JSON_STRING;
    case 't':
    case 'f':
        return JSON_BOOL;
    case 'n':
        return JSON_NULL;
    default:
        if (*j->p == '-' || (*j->p >= '0' && *j->p <= '9') ||
            (j->python && (*j->p == 'N' || *j->p == 'I')))
            return JSON_NUMBER;
        expected(j, "a value");
        return JSON_ERROR;
    }
}

static bool enter(struct json *j, char bracket, bool is_object, const char *what) {
    skip_space(j);
    if (j->failed || j->p >= j->end || *j->p != bracket) {
        expected(j, what);
        return false;
    }
    if (j->depth >= JSON_MAX_DEPTH) {
        json_refuse(j, "JSON is nested deeper than %d", JSON_MAX_DEPTH);
        return false;
    }
    j->p++;
    j->is_object[j->depth++] = is_object;
    j->fresh = true;
    return true;
}

bool json_enter_object(struct json *j) {
    return enter(j, '{', true, "an object");
}

bool json_enter_object_or_null(struct json *j) {
    if (json_peek(j) != JSON_NULL)
        return json_enter_object(j);
    json_null(j);
    return false;
}

bool json_enter_array(struct json *j) {
    return enter(j, '[', false, "an array");
}

/* Before a member or an item: true with the comma consumed, false with the closing bracket
 * consumed. */
static bool next(struct json *j, char closing) {
    skip_space(j);
    if (j->failed)
        return false;
    bool fresh = j->fresh;
    j->fresh = false;
    if (j->p < j->end && *j->p == closing) {
        j->p++;
        j->depth--;
        return false;
    }
    if (fresh)
        return true;
    if (j->p >= j->end || *j->p != ',') {
        expected(j, closing == '}' ? "',' or '}'" : "',' or ']'");
        return false;
    }
    j->p++;
    skip_space(j);
    return true;
}

bool json_key(struct json *j, struct str *key) {
    *key = (struct str){"", 0};
    if (!next(j, '}'))
        return false;
    *key = json_str(j);
    skip_space(j);
    if (j->failed || j->p >= j->end || *j->p != ':') {
        expected(j, "':'");
        return false;
    }
    j->p++;
    return true;
}

bool json_item(struct json *j) {
    return next(j, ']');
}

/* The value of four hexadecimal digits at p; -1 if they are not there. */
static int32_t hex4(const char *p, const char *end) {
    if (end - p < 4)
        return -1;
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int digit = num_hex_digit(p[i]);
        if (digit < 0)
            return -1;
        v = v << 4 | digit;
    }
    return v;
}

/* The \u escape whose digits begin at p: writes its UTF-8 and moves past it. */
static const char *unescape_u(struct json *j, const char *p, char **out) {
    int32_t hi = hex4(p, j->end);
    uint32_t cp = (uint32_t)hi;
    p += 4;
    if (hi >= 0xD800 && hi <= 0xDBFF && j->end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        int32_t lo = hex4(p + 2, j->end);
        if (lo >= 0xDC00 && lo <= 0xDFFF) {
            cp = 0x10000 + ((uint32_t)(hi - 0xD800) << 10) + (uint32_t)(lo - 0xDC00);
            p += 6;
        }
    }
    if (hi < 0 || (cp >= 0xD800 && cp <= 0xDFFF)) {
        json_refuse(j, hi < 0 ? "JSON string has a bad \\u escape"
                              : "JSON string has a lone surrogate");
        return NULL;
    }
    *out += utf8_encode(cp, *out);
    return p;
}

/* A string with escapes: from `from` (after the quote) to the closing quote at `to`. */
static struct str unescape(struct json *j, const char *from, const char *to) {
    static const char letters[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    char *text = arena_alloc(&j->strings, (size_t)(to - from) + 1), *out = text;
    const char *p = from;
    while (p < to) {
        if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        const char *letter = p[1] ? strchr(letters, p[1]) : NULL;
        if (letter) {
            *out++ = bytes[letter - letters];
            p += 2;
        } else if (p[1] == 'u') {
            p = unescape_u(j, p + 2, &out);
        } else {
            json_refuse(j, "JSON string has a bad escape");
            p = NULL;
        }
        if (!p)
            return (struct str){"", 0};
    }
    return (struct str){text, (size_t)(out - text)};
}

static inline struct str read_str(struct json *j, bool check) {
    skip_space(j);
    if (j->failed || j->p >= j->end || *j->p != '"') {
        expected(j, "a string");
        return (struct str){"", 0};
    }
    const char *from = ++j->p, *p = from;
    bool escapes = false, high = false;
    while ((p = scan_plain(p, j->end, true, &high)) < j->end && *p != '"') {
        if (*p != '\\') {
            j->p = p;
            json_refuse(j, "JSON string has the control byte 0x%02x", (unsigned char)*p);
            return (struct str){"", 0};
        }
        escapes = true;
        p += p + 1 < j->end ? 2 : 1;
    }
    if (p >= j->end) {
        json_refuse(j, "JSON ends inside a string");
        return (struct str){"", 0};
    }
    size_t n = (size_t)(p - from), good = high && (check || escapes) ? utf8_valid(from, n) : n;
    if (good != n) {
        j->p = from + good;
        json_refuse(j, "JSON string is not valid UTF-8");
        return (struct str){"", 0};
    }
    struct str s = escapes ? unescape(j, from, p) : (struct str){from, n};
    if (!j->failed)
        j->p = p + 1;
    return s;
}

struct str json_str(struct json *j) {
    return read_str(j, true);
}

struct str json_str_unchecked(struct json *j) {
    return read_str(j, false);
}

static bool literal(struct json *j, const char *word) {
    size_t n = strlen(word);
    if ((size_t)(j->end - j->p) < n || memcmp(j->p, word, n) != 0)
        return false;
    j->p += n;
    return true;
}

bool json_bool(struct json *j) {
    skip_space(j);
    if (!j->failed && literal(j, "true"))
        return true;
    if (j->failed || !literal(j, "false"))
        expected(j, "true or false");
    return false;
}

bool json_null(struct json *j) {
    if (json_peek(j) != JSON_NULL)
        return false;
    if (!literal(j, "null")) {
        expected(j, "null");
        return false;
    }
    return true;
}

static void digits(const char **p, const char *end) {
    while (*p < end && **p >= '0' && **p <= '9')
        (*p)++;
}

/* The bytes of NaN, Infinity or -Infinity at j->p, if j accepts them; else an empty view. */
static struct str python_number(const struct json *j) {
    static const char *const names[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; j->python && i < sizeof names / sizeof *names; i++) {
        size_t n = strlen(names[i]);
        if ((size_t)(j->end - j->p) >= n && memcmp(j->p, names[i], n) == 0)
            return (struct str){j->p, n};
    }
    return (struct str){NULL, 0};
}

/* The bytes of a number in RFC 8259's grammar, consumed. */
static struct str number(struct json *j) {
    skip_space(j);
    struct str named = python_number(j);
    if (named.p && !j->failed) {
        j->p += named.n;
        return named;
    }
    const char *p = j->p, *from = p, *mark;
    if (p < j->end && *p == '-')
        p++;
    mark = p;
    digits(&p, j->end);
    bool good = p > mark && (*mark != '0' || p == mark + 1);
    if (good && p < j->end && *p == '.') {
        mark = ++p;
        digits(&p, j->end);
        good = p > mark;
    }
    if (good && p < j->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < j->end && (*p == '+' || *p == '-'))
            p++;
        mark = p;
        digits(&p, j->end);
        good = p > mark;
    }
    if (j->failed || !good) {
        expected(j, "a number");
        return (struct str){"0", 1};
    }
    j->p = p;
    return (struct str){from, (size_t)(p - from)};
}

double json_f64(struct json *j) {
    struct str s = number(j);
    char text[128];
    if (s.n >= sizeof text) {
        json_refuse(j, "JSON number has more than %zu characters", sizeof text - 1);
        return 0;
    }
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    return strtod(text, NULL);
}

int64_t json_i64(struct json *j) {
    struct str s = number(j);
    int64_t v = 0;
    if (!parse_i64(s, INT64_MIN, INT64_MAX, &v))
        json_refuse(j, "'%.*s' is not a whole number in range", s.n > 40 ? 40 : (int)s.n, s.p);
    return v;
}

uint64_t json_u64(struct json *j) {
    enum { FEW = 19 }; // digits that always fit
    skip_space(j);
    uint64_t v = 0;
    const char *p = j->p;
    for (; p < j->end && p - j->p < FEW && *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    if (p > j->p && p < j->end && (*p == ',' || *p == '}' || *p == ']') &&
        (*j->p != '0' || p == j->p + 1)) {
        j->p = p; // the common case; other numbers are read in full below
        return v;
    }
    struct str s = number(j);
    v = 0;
    if (!parse_u64(s, 0, UINT64_MAX, &v))
        json_refuse(j, "'%.*s' is not a whole number in range", s.n > 40 ? 40 : (int)s.n, s.p);
    return v;
}

/* Consumes one scalar, or the opening bracket of an array or object. */
static void skip_one(struct json *j) {
    switch (json_peek(j)) {
    case JSON_OBJECT:
        json_enter_object(j);
        break;
    case JSON_ARRAY:
        json_enter_array(j);
        break;
    case JSON_STRING:
        json_str(j);
        break;
    case JSON_NUMBER:
        number(j);
        break;
    case JSON_BOOL:
        json_bool(j);
        break;
    case JSON_NULL:
        json_null(j);
        break;
    case JSON_ERROR:
        break;
    }
}

struct str json_skip(struct json *j) {
    int depth = j->depth;
    skip_space(j);
    const char *from = j->p;
    skip_one(j);
    while (!j->failed && j->depth > depth) {
        struct str key;
        if (j->is_object[j->depth - 1] ? json_key(j, &key) : json_item(j))
            skip_one(j);
    }
    return j->failed ? (struct str){"null", 4} : (struct str){from, (size_t)(j->p - from)};
}

bool json_end(struct json *j) {
    skip_space(j);
    if (!j->failed && j->p != j->end)
        expected(j, "the end");
    return !j->failed;
}

void json_write_str(struct buf *out, struct str s) {
    buf_byte(out, '"');
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
            continue;
        buf_add(out, s.p + from, i - from);
        from = i + 1;
        if (c == '"' || c == '\\')
            buf_fmt(out, "\\%c", c);
        else if (c == '\n')
            buf_str(out, "\\n");
        else if (c == '\t')
            buf_str(out, "\\t");
        else if (c == '\r')
            buf_str(out, "\\r");
        else
            buf_fmt(out, "\\u%04x", c);
    }
    buf_add(out, s.p + from, s.n - from);
    buf_byte(out, '"');
}

void json_write_f64(struct buf *out, double v) {
    if (isfinite(v))
        buf_fmt(out, "%.9g", v);
    else
        buf_str(out, "null");
}
