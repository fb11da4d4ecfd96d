/* Pages of 2 MiB: see big_pages.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#if defined(__linux__)
#define _GNU_SOURCE // mremap
#else
#define _DEFAULT_SOURCE // MAP_ANONYMOUS, MAP_NORESERVE
#endif

#include "base/big_pages.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "base/mem.h"

static void *map(size_t n, int access) {
    void *p = mmap(NULL, n, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static void *map_aligned(size_t n, int access) {
    size_t all;
    if (!add_size(n, BIG_PAGE, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    unsigned char *p = map(all, access);
    if (p) {
        size_t before = (BIG_PAGE - (uintptr_t)p % BIG_PAGE) % BIG_PAGE;
        if (before > 0)
            munmap(p, before);
        p += before;
        munmap(p + n, BIG_PAGE - before);
    } else {
        p = map(n, access);
    }
    return p;
}

void *big_pages_map(size_t n) {
    void *p = map_aligned(n, PROT_READ | PROT_WRITE);
#ifdef MADV_HUGEPAGE
    if (p)
        madvise(p, n, MADV_HUGEPAGE); // only a hint: an error makes it slower
#endif
    return p;
}

void *big_pages_reserve(size_t n) {
    return map_aligned(n, PROT_NONE);
}

#if defined(__linux__)
/* A move at the same alignment moves whole tables of pages, and does not split big pages. */
void *big_pages_grow(void *p, size_t n, size_t to) {
    if (!p)
        return big_pages_map(to);
    void *q = mremap(p, n, to, 0), *place;
    if (q == MAP_FAILED && (place = big_pages_map(to)) != NULL) {
        q = mremap(p, n, to, MREMAP_MAYMOVE | MREMAP_FIXED, place);
        if (q == MAP_FAILED)
            munmap(place, to);
    }
    if (q == MAP_FAILED) // both together may be more than RLIMIT_AS
        q = mremap(p, n, to, MREMAP_MAYMOVE);
    return q == MAP_FAILED ? NULL : q;
}
#else
void *big_pages_grow(void *p, size_t n, size_t to) {
    void *q = big_pages_map(to);
    if (p && q) {
        memcpy(q, p, n);
        munmap(p, n);
    }
    return q;
}
#endif
