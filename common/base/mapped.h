/* Mapped files, so that the program can say which of them became shorter. Reading past the new end
 * of a mapped file raises SIGBUS, and the mapping cannot be read any more: the program says so and
 * exits with EXIT_IO.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_MAPPED_H
#define BASE_MAPPED_H

#include <stddef.h>

/* Notes that p[0 .. n) is mapped from the file at path, and handles SIGBUS from now on. */
void mapped_add(const void *p, size_t n, const char *path);
void mapped_drop(const void *p); // before it is unmapped

#endif
