/* Checked number parsing: see num.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/err.h"

bool parse_u64(struct str s, uint64_t min, uint64_t max, uint64_t *out) {
    uint64_t v = 0;
    if (s.n == 0)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    if (v < min || v > max)
        return false;
    *out = v;
    return true;
}

bool parse_i64(struct str s, int64_t min, int64_t max, int64_t *out) {
    bool negative = s.n > 0 && s.p[0] == '-';
    struct str digits = negative ? (struct str){s.p + 1, s.n - 1} : s;
    uint64_t magnitude;
    if (!parse_u64(digits, 0, (uint64_t)INT64_MAX + (negative ? 1 : 0), &magnitude))
        return false;
    int64_t v =
        negative ? -(int64_t)(magnitude - (magnitude > 0)) - (magnitude > 0) : (int64_t)magnitude;
    if (v < min || v > max)
        return false;
    *out = v;
    return true;
}

bool parse_f64(struct str s, double min, double max, double *out) {
    char text[64], *end;
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    for (size_t i = 0; i < s.n; i++) // strtod alone would take spaces, "inf", "nan" and hexadecimal
        if (!((s.p[i] >= '0' && s.p[i] <= '9') || memchr("+-.eE", s.p[i], 5)))
            return false;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    double v = strtod(text, &end);
    if (*end != '\0' || end == text || !isfinite(v) || v < min || v > max)
        return false;
    *out = v;
    return true;
}

int num_hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

uint64_t opt_u64(const char *option, const char *arg, uint64_t min, uint64_t max) {
    uint64_t v;
    if (!parse_u64(str_of(arg), min, max, &v))
        die_usage("%s takes a whole number from %" PRIu64 " to %" PRIu64 ": '%s'", option, min, max,
                  arg);
    return v;
}

double opt_f64(const char *option, const char *arg, double min, double max) {
    double v;
    if (!parse_f64(str_of(arg), min, max, &v))
        die_usage("%s takes a number from %g to %g: '%s'", option, min, max, arg);
    return v;
}
