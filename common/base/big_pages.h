/* Memory in pages of 2 MiB, where the system has them: their clearing takes a quarter of the time,
 * and what walks through much of it seldom waits for an address to be looked up.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_BIG_PAGES_H
#define BASE_BIG_PAGES_H

#include <stdbool.h>
#include <stddef.h>

enum { BIG_PAGE = 2 << 20 };

/* n bytes of addresses (a multiple of BIG_PAGE, not 0), aligned to BIG_PAGE, zeroed, which cost
 * memory only where they are touched. Not `usable`: reserved alone, until mprotect makes them so.
 * NULL (errno) where there are none. Ended with munmap(p, n). */
void *big_pages_map(size_t n, bool usable);

#endif
