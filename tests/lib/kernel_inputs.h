/* Inputs of kernels for tests: memory that ends at a page that may not be touched, and random
 * matrices in it. The including file defines _DEFAULT_SOURCE (MAP_ANONYMOUS).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_KERNEL_INPUTS_H
#define TESTS_KERNEL_INPUTS_H

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "check.h"
#include "kernels/kernels.h"
#include "random.h"

/* Fewer rounds where every instruction is a function call, and under a sanitizer. That has to see
 * each path once; the plain build compares the bits for every number of rows and threads. */
#if !defined(CHECKS_FEW)
#define CHECKS_FEW CHECK_SLOW
#endif

/* n bytes that end (or begin) right at a page that may not be touched. */
struct guarded {
    unsigned char *map, *p;
    size_t map_n;
};
static struct guarded guarded_new(size_t n, size_t before_end) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (n + before_end + page - 1) / page * page;
    struct guarded g = {.map_n = body + 2 * page};
    g.map = mmap(NULL, g.map_n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g.map == MAP_FAILED || mprotect(g.map, page, PROT_NONE) != 0 ||
        mprotect(g.map + page + body, page, PROT_NONE) != 0) {
        printf("Bail out! no guard pages\n");
        exit(1);
    }
    g.p = g.map + page + body - n - before_end;
    return g;
}
static void guarded_free(struct guarded *g) {
    munmap(g->map, g->map_n);
}

static float f16_value(uint16_t h) { // by the definition, slowly
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return (float)(h & 0x8000 ? -v : v);
}

/* Fills a guarded W with random values; *values gets them as f32. */
static inline struct guarded random_mat(struct mat *w, size_t unaligned, float *values) {
    size_t n = w->n_out * w->n_in, size = w->layout == MAT_F32 ? 4 : 2;
    struct guarded g = guarded_new(n * size, unaligned);
    w->data = g.p;
    for (size_t i = 0; i < n; i++) {
        values[i] = random_float();
        uint16_t h = bf16_from_f32(values[i]);
        if (w->layout == MAT_F16) {
            h = (uint16_t)((random_bits() & 0x83FF) | (random_bits() % 16)
                                                          << 10); // |value| < 2, subnormals too
            values[i] = f16_value(h);
        } else if (w->layout == MAT_BF16) {
            values[i] = f32_from_bf16(h);
        }
        memcpy(g.p + i * size, w->layout == MAT_F32 ? (void *)&values[i] : (void *)&h, size);
    }
    return g;
}

/* One product: y [n_rows, w->n_out] (stride ldy). */
static void multiply(struct pool *p, float *y, size_t ldy, const struct mat *w, const float *bias,
                     const struct matmul_input *in) {
    const struct matmul_product one = {.y = y, .ldy = ldy, .w = w, .bias = bias};
    matmul(p, &one, 1, in);
}

#endif
