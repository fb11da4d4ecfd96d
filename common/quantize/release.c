/* Pages of a mapped file: see release.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // madvise
#include "quantize/release.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

void release_pages(const void *p, size_t n) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)p, end = begin + n;
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}
