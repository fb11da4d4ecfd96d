/* For LD_PRELOAD: call number $FAIL_REALLOC of realloc, counted from 1, finds no memory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // RTLD_NEXT
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

void *realloc(void *p, size_t n) {
    static void *(*real)(void *, size_t);
    static unsigned long calls, fail;
    if (!real) {
        *(void **)&real = dlsym(RTLD_NEXT, "realloc");
        const char *at = getenv("FAIL_REALLOC");
        fail = at ? strtoul(at, NULL, 10) : 0;
    }
    if (__atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == fail) {
        errno = ENOMEM;
        return NULL;
    }
    return real(p, n);
}
