/* Memory in pages of 2 MiB, where the system has them. They are cleared faster than small pages,
 * and random access misses the TLB less often.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_BIG_PAGES_H
#define BASE_BIG_PAGES_H

#include <stdbool.h>
#include <stddef.h>

enum { BIG_PAGE = 2 << 20 };

/* Maps n bytes (a multiple of BIG_PAGE, not 0), zeroed and aligned to BIG_PAGE. They use memory
 * only where they are touched. Without `usable`, addresses are only reserved until mprotect makes
 * them usable. NULL with errno set on failure. Unmapped with munmap(p, n). */
void *big_pages_map(size_t n, bool usable);

#endif
