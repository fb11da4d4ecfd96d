/* Elementary functions that several kernels need, without branches: compilers make vector code of
 * any loop over them. The bound of each one's error is beside it, and tests/unit/kernels.c holds
 * it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_APPROX_H
#define KERNELS_APPROX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/every_isa.h"
#include "weights/half.h"

/* The sum of s [SUM_LANES], in one fixed tree. Overwrites s. */
enum { SUM_LANES = 16 };
EVERY_ISA float approx_sum_lanes(float *s) {
    for (size_t half = SUM_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

/* take ? a : b, by bits, which compilers do not turn into a branch. Where a is a constant they
 * would compute what follows twice, once for the constant, in every lane. A division by e^88.37
 * whose result nobody reads then makes subnormals, at a hundred cycles each. */
EVERY_ISA float approx_select(bool take, float a, float b) {
    uint32_t mask = -(uint32_t)take;
    return f32_from_bits((f32_bits(a) & mask) | (f32_bits(b) & ~mask));
}

/* a * b + c; fused: rounded once, where the CPU has an instruction for it. */
EVERY_ISA float approx_multiply_add(const bool fused, float a, float b, float c) {
    return fused ? __builtin_fmaf(a, b, c) : a * b + c;
}

/* e^c for c in [-87.33, 88.37]. c = n ln 2 + r with n whole and |r| <= 0.3466; e^r by its Taylor
 * series to r^7, times 2^n made from bits. The rest of the series is below 0.3466^8 / 8! = 5.2e-9,
 * relative to 0.7. Relative error under 2 ulp (1.2e-7). */
EVERY_ISA float approx_exp_within(const bool fused, float c) {
    const float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to whole
    float shifted = approx_multiply_add(fused, c, 1.44269504f, magic);
    float n = shifted - magic;
    float r = approx_multiply_add(fused, n, -0.693359375f, c); // ln 2 in two parts (Cody and Waite)
    r = approx_multiply_add(fused, n, 2.12194440e-4f, r);
    float p = 1.0f / 5040;
    p = approx_multiply_add(fused, p, r, 1.0f / 720);
    p = approx_multiply_add(fused, p, r, 1.0f / 120);
    p = approx_multiply_add(fused, p, r, 1.0f / 24);
    p = approx_multiply_add(fused, p, r, 1.0f / 6);
    p = approx_multiply_add(fused, p, r, 0.5f);
    p = approx_multiply_add(fused, p * r, r, r) + 1.0f;
    uint32_t n_bits = f32_bits(shifted) - f32_bits(magic);
    return p * f32_from_bits((n_bits + 127u) << 23);
}

/* e^x for any x. Below -87.33, where the result would be subnormal: e^-87.33 = 1.2e-38.
 * Above 88.37: e^88.37. NaN stays NaN. */
EVERY_ISA float approx_exp(float x) {
    float c = approx_select(x < -87.33f, -87.33f, x);
    return approx_exp_within(false, approx_select(c > 88.37f, 88.37f, c));
}

/* The part of a normal distribution above a >= 0: erfc(a / sqrt(2)) / 2. It is computed as
 * e^(-a^2 / 2) t P(t) with t = 1 / (1 + 0.325269119 a), the form of Abramowitz and Stegun 7.1.26.
 * P is fitted for the smallest maximal error: 2.4e-8 of the result where that is above 1e-4. It is
 * evaluated in u = t - 1, which rounds less near 0. Absolute error under 1e-7. */
EVERY_ISA float approx_normal_above(float a) {
    a = approx_select(a > 12.5f, 12.5f, a); // 4e-36
    float k = 0.325269119f * a, t = 1.0f / (1.0f + k), u = -k * t;
    float p = 0.0435860582f;
    p = p * u + 0.0410235468f;
    p = p * u - 0.100291271f;
    p = p * u - 0.0451672412f;
    p = p * u + 0.409929171f;
    p = p * u + 0.726497758f;
    p = p * u + 0.5f;
    return approx_exp(-0.5f * a * a) * (t * p);
}

/* tanh from e^-2|x|, and a series near 0 where that would cancel. Relative error under 4e-7. */
EVERY_ISA float approx_tanh(float x) {
    float a = f32_from_bits(f32_bits(x) & 0x7FFFFFFF), s = x * x;
    float e = approx_exp(-2.0f * a);
    float far = (1.0f - e) / (1.0f + e);
    far = f32_from_bits(f32_bits(far) | (f32_bits(x) & 0x80000000));
    // x - x^3/3 + 2x^5/15 - 17x^7/315 + 62x^9/2835 - 1382x^11/155925; next term 21844 x^13/6081075
    float p = -1382.0f / 155925;
    p = p * s + 62.0f / 2835;
    p = p * s - 17.0f / 315;
    p = p * s + 2.0f / 15;
    p = p * s - 1.0f / 3;
    float near = x + x * (s * p);
    return a < 0.35f ? near : far;
}

#endif
