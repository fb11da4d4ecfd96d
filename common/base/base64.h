/* Base64 (RFC 4648), with the usual alphabet and padding.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/mem.h"

/* Appends the bytes that s spells. Padding may be left out. False, with any bytes appended, if s
 * has another character or a length that no text has. */
bool base64_decode(struct str s, struct buf *out);

/* Appends n bytes at p in base64, with padding. */
void base64_encode(const void *p, size_t n, struct buf *out);

#endif
