/* Pages of 2 MiB: see big_pages.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // MAP_ANONYMOUS, MAP_NORESERVE, madvise

#include "base/big_pages.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#include "base/mem.h"

void *big_pages_map(size_t n, bool usable) {
    size_t all;
    if (!add_size(n, BIG_PAGE, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    unsigned char *p = mmap(NULL, all, usable ? PROT_READ | PROT_WRITE : PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = (BIG_PAGE - (uintptr_t)p % BIG_PAGE) % BIG_PAGE;
    if (before > 0)
        munmap(p, before);
    munmap(p + before + n, BIG_PAGE - before);
#ifdef MADV_HUGEPAGE
    madvise(p + before, n, MADV_HUGEPAGE); // only a hint: an error makes it slower
#endif
    return p + before;
}
