/* Loading the driver's library, and its errors in words: see api.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "backend/cuda/api.h"

/* The library is never closed, because NVIDIA's leaves threads of its own running in it. */
int cu_api_load(struct cu_api *a, struct err *e) {
    static const char soname[] = "libcuda.so.1";
    void *library = dlopen(soname, RTLD_NOW | RTLD_LOCAL), *symbol;
    if (!library) {
        const char *why = dlerror();
        // dlerror names the library itself: "libcuda.so.1: cannot open shared object file: ..."
        if (why && strncmp(why, soname, sizeof soname - 1) == 0)
            return err_set(e, EXIT_SYSTEM, "no CUDA driver: %s", why);
        return err_set(e, EXIT_SYSTEM, "no CUDA driver: %s: %s", soname, why ? why : "not found");
    }
    // Through memcpy, as ISO C has no conversion from an object's address to a function's.
#define LOAD(name, version, params)                                                                \
    symbol = dlsym(library, #name version);                                                        \
    if (!symbol)                                                                                   \
        return err_set(e, EXIT_SYSTEM, "the CUDA driver is too old, 11.8 is needed: no %s in %s",  \
                       #name version, soname);                                                     \
    memcpy(&a->name, &symbol, sizeof symbol);
    CU_API(LOAD)
#undef LOAD
    return 0;
}

int cu_api_fail(const struct cu_api *a, int r, struct err *e, const char *where, ...) {
    const char *name = NULL, *text = NULL;
    char at[512], number[32];
    va_list args;
    va_start(args, where);
    vsnprintf(at, sizeof at, where, args);
    va_end(args);
    snprintf(number, sizeof number, "CUDA error %d", r);
    if (a->cuGetErrorName(r, &name) != API_SUCCESS || !name)
        name = number;
    if (a->cuGetErrorString(r, &text) != API_SUCCESS || !text)
        text = "no description";
    return err_set(e, EXIT_SYSTEM, "%s (%s): %s", name, text, at);
}
