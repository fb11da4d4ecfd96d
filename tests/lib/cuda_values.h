/* Inputs and outputs of GPU kernels, for tests: elements of a type, buffers full of NaN, and
 * comparisons.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_CUDA_VALUES_H
#define TESTS_CUDA_VALUES_H

#include <math.h>

#include "cuda_dev.h"
#include "random.h"
#include "weights/dtype.h"
#include "weights/half.h"

static inline uint32_t below(uint32_t n) {
    return (uint32_t)(random_bits() >> 20) % n;
}
static inline uint32_t round_up(uint32_t n, uint32_t to) {
    return (n + to - 1) / to * to;
}

static inline size_t type_size(uint32_t type) {
    return type == CU_F32 ? 4 : 2;
}
static inline float get(const void *p, uint32_t type, size_t i) {
    uint16_t h;
    float f;
    if (type == CU_F32) {
        memcpy(&f, (const char *)p + 4 * i, 4);
        return f;
    }
    memcpy(&h, (const char *)p + 2 * i, 2);
    return type == CU_BF16 ? f32_from_bf16(h) : f32_from_f16(h);
}
static inline void put(void *p, uint32_t type, size_t i, float f) {
    uint16_t h =
        type == CU_BF16 ? bf16_from_f32(f) : f16_from_f32(fminf(fmaxf(f, -65504.0f), 65504.0f));
    if (type == CU_F32)
        memcpy((char *)p + 4 * i, &f, 4);
    else
        memcpy((char *)p + 2 * i, &h, 2);
}
/* n elements, all NaN. */
static inline void *poisoned(size_t n, size_t size) {
    void *p = xmalloc(n * size);
    memset(p, 0xFF, n * size);
    return p;
}
static inline void fill(void *p, uint32_t type, size_t n) {
    for (size_t i = 0; i < n; i++)
        put(p, type, i, random_float());
}

/* b has the bytes of want; both are freed. */
static inline void check_bytes(struct dev_buf *b, void *want, const char *what) {
    unsigned char *got = dev_read(b);
    for (size_t i = 0; i < b->n; i++)
        if (got[i] != ((unsigned char *)want)[i]) {
            size_t f = i / 4 * 4;
            CHECK_MSG(0, "%s: byte %zu of %zu is %02x, not %02x (as f32 %g, %g)", what, i, b->n,
                      got[i], ((unsigned char *)want)[i],
                      f + 4 <= b->n ? (double)get(got, CU_F32, i / 4) : 0,
                      f + 4 <= b->n ? (double)get(want, CU_F32, i / 4) : 0);
            break;
        }
    free(got);
    free(want);
    dev_free(b);
}

#endif
