/* UTF-8, as Unicode's table 3-7 defines it: no overlong forms, no surrogates, nothing past
 * U+10FFFF.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* Decodes the character at p (n > 0 bytes left). Returns its length 1..4 and sets *cp; 0 if no
 * well-formed character begins at p. */
size_t utf8_decode(const char *p, size_t n, uint32_t *cp);

/* Writes cp (a scalar value) to out, 1..4 bytes; returns how many. */
size_t utf8_encode(uint32_t cp, char out[4]);

/* Length of the well-formed prefix: n if all of it is valid. */
size_t utf8_valid(const char *p, size_t n);

/* How many bytes at p are an ill-formed maximal subpart (1..3), to be replaced by one U+FFFD as the
 * Unicode standard (3.9, U+FFFD substitution) and Python's and Rust's decoders do. Call it only
 * where utf8_decode returned 0. *cut is set if the bytes end inside a character that more bytes
 * could complete. */
size_t utf8_bad(const char *p, size_t n, bool *cut);

/* Appends p[0..n) to out with each ill-formed subpart replaced by U+FFFD; returns how many were. */
size_t utf8_repair(struct buf *out, const char *p, size_t n);

/* Whether s, valid UTF-8, has a control character (C0, DEL, C1). Terminals act on these, and some
 * end lines. */
bool utf8_has_control(struct str s);

#endif
