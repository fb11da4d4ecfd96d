/* Memory in pages of 2 MiB, where the system has them. They are cleared faster than small pages,
 * and random access misses the TLB less often.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_BIG_PAGES_H
#define BASE_BIG_PAGES_H

#include <stddef.h>

enum { BIG_PAGE = 2 << 20 };

/* Maps n bytes (a multiple of BIG_PAGE, not 0), zeroed. They are aligned to BIG_PAGE if there are
 * addresses for that. They use memory only where they are touched. NULL with errno set on failure.
 * Unmapped with munmap(p, n). */
void *big_pages_map(size_t n);

/* Resizes a mapping from n to `to` bytes, more than n. It may move, with its contents; added bytes
 * are zeroed. p NULL (and n 0): as big_pages_map. NULL with errno set on failure: then p is as it
 * was. */
void *big_pages_grow(void *p, size_t n, size_t to);

/* Takes n addresses (a multiple of BIG_PAGE), aligned to BIG_PAGE if possible, which cannot be read
 * or written: files are mapped over them with MAP_FIXED. NULL with errno set on failure. Unmapped
 * with munmap(p, n). */
void *big_pages_reserve(size_t n);

#endif
