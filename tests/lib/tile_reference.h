/* TDPBF16PS one output at a time, in the order of common/kernels/tile.h: a reference for emulated
 * tiles, for the CPU's and for the kernels on them. Its fused multiply-add is another one than the
 * emulation's. And inputs for it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_TILE_REFERENCE_H
#define TESTS_TILE_REFERENCE_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "random.h"
#include "weights/half.h"

static inline double flushed(double x) {
    return fabs(x) < (double)FLT_MIN ? copysign(0, x) : x;
}

/* x rounded to f32, and zero if it is subnormal then: by the precision alone, as if there were
 * smaller exponents. x is exact, or its last bit is sticky. */
static inline float rounded(double x) {
    if (x == 0 || isnan(x) || isinf(x) || fabs(x) >= 0x1p-100)
        return (float)x;
    float large = (float)(x * 0x1p64);
    return fabsf(large) < FLT_MIN * 0x1p64f ? copysignf(0, large) : large * 0x1p-64f;
}

/* a * b + c with one rounding: the sum in double, rounded to odd (Boldo, Melquiond 2008). */
static inline float fused(double a, double b, double c) {
    const double p = flushed(a) * flushed(b), x = flushed(c), s = p + x;
    if (isnan(s) || isinf(s))
        return (float)s;
    const double t = s - p, err = (p - (s - t)) + (x - t);
    uint64_t bits;
    memcpy(&bits, &s, sizeof bits);
    if (err != 0 && bits % 2 == 0)
        bits += (err > 0) == (s > 0) ? 1 : UINT64_MAX; // towards the exact sum
    double odd;
    memcpy(&odd, &bits, sizeof odd);
    return rounded(odd);
}

static inline float value_at(const uint16_t *p, size_t stride, size_t k, size_t n) {
    return k < n ? f32_from_bf16(p[k * stride]) : 0;
}
/* c + the products of n elements of a and b, element k at a[k * lda]. */
static inline float summed(float c, const uint16_t *a, size_t lda, const uint16_t *b, size_t ldb,
                           size_t n) {
    for (size_t first = 0; first < n; first += 32) {
        float sum[2] = {0, 0};
        for (size_t k = first; k < first + 32; k++)
            sum[k % 2] = fused((double)value_at(a, lda, k, n), (double)value_at(b, ldb, k, n),
                               (double)sum[k % 2]);
        c = rounded(flushed((double)c) + (double)rounded((double)sum[0] + (double)sum[1]));
    }
    return c;
}

static inline bool same(float a, float b) {
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

/* Values of a kind: near 1; where products are near the smallest normal; all bits at random; a few
 * that are infinite or NaN; a product of which all bits count in a sum that nearly cancels. */
enum kind { NEAR_1, TINY, ANY, SPECIAL, CANCEL, KINDS };
static inline uint16_t random_half(enum kind kind) {
    uint16_t h = (uint16_t)random_bits();
    switch (kind) {
    case NEAR_1:
        return (uint16_t)((h & 0x807F) | (120 + random_bits() % 8) << 7);
    case TINY:
        return (uint16_t)((h & 0x807F) | (random_bits() % 8 == 0 ? 0 : 60 + random_bits() % 6)
                                             << 7);
    case ANY:
        return h;
    case SPECIAL:
        return random_bits() % 200 == 0   ? (uint16_t)(0x7F80 | (h & 0x8000))
               : random_bits() % 400 == 0 ? (uint16_t)(h | 0x7F81)
                                          : random_half(NEAR_1);
    default:
        return (uint16_t)(0x3F80 | (h & 0x8007));
    }
}

#endif
