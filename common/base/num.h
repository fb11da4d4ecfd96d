/* Checked number parsing: the whole text must be one number in range; nothing is parsed with atoi.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

/* Decimal digits, for parse_i64 and parse_f64 with a sign if any; no spaces; parse_f64 takes finite
 * values only. False (and *out untouched) on anything else or out of [min, max]. */
bool parse_u64(struct str s, uint64_t min, uint64_t max, uint64_t *out);
bool parse_i64(struct str s, int64_t min, int64_t max, int64_t *out);
bool parse_f64(struct str s, double min, double max, double *out);

/* The value of a hexadecimal digit, in either case; -1 if c is not one. */
int num_hex_digit(char c);

/* The value of a command-line option: a usage error (exit 2) that names the option and the range.
 */
uint64_t opt_u64(const char *option, const char *arg, uint64_t min, uint64_t max);
double opt_f64(const char *option, const char *arg, double min, double max);

#endif
