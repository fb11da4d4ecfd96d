/* Pages of a mapped file that have been read and are not needed soon.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef QUANTIZE_RELEASE_H
#define QUANTIZE_RELEASE_H

#include <stddef.h>

/* Lets the system take back the whole pages inside p[0 .. n) of a mapped file. They are read again
 * where they are used again. Memory that is not a file's mapping must not be passed. */
void release_pages(const void *p, size_t n);

#endif
