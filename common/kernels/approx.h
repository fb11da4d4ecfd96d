/* Small things that several kernels need, in forms that compilers turn into vector code in any loop
 * over them.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_APPROX_H
#define KERNELS_APPROX_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Put into every variant of one loop, each compiled for its instruction set. */
#define EVERY_ISA static inline __attribute__((always_inline))

/* Before loops over arrays of vectors: without it, compilers leave these in memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

EVERY_ISA uint32_t f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
EVERY_ISA float f32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* The total of s [SUM_LANES], in one fixed tree; s is used up. */
enum { SUM_LANES = 16 };
EVERY_ISA float vec_sum_lanes(float *s) {
    for (size_t half = SUM_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

/* BF16 is the upper half of an f32; rounded to nearest even, NaN kept (made quiet). */
EVERY_ISA float vec_f32_from_bf16(uint16_t h) {
    return f32_from_bits((uint32_t)h << 16);
}
EVERY_ISA uint16_t vec_bf16_from_f32(float f) {
    uint32_t u = f32_bits(f);
    uint32_t rounded = (u + 0x7FFF + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
    return (uint16_t)((u & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded);
}

/* F16 by moving its fields to where f32 has them and multiplying by 2^112 for the difference of the
 * exponents' biases, which also makes subnormals right; infinity and NaN get f32's full exponent.
 */
EVERY_ISA float vec_f32_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7FFF) << 13;
    float f = f32_from_bits(rest) * f32_from_bits((127u + 112u) << 23);
    uint32_t u = (h & 0x7C00) == 0x7C00 ? rest | 0x7F800000 : f32_bits(f);
    return f32_from_bits(sign | u);
}

/* take ? a : b, which compilers do not take apart: with a constant a they would compute all that
 * follows twice, for the constant too and for every lane, and dividing by e^88.37 for nothing makes
 * subnormals, at a hundred cycles each. */
EVERY_ISA float vec_select(bool take, float a, float b) {
    uint32_t mask = -(uint32_t)take;
    return f32_from_bits((f32_bits(a) & mask) | (f32_bits(b) & ~mask));
}

/* a * b + c, in one rounding where that is one instruction. */
EVERY_ISA float vec_multiply_add(const bool fused, float a, float b, float c) {
    return fused ? __builtin_fmaf(a, b, c) : a * b + c;
}

/* e^c for c in [-87.33, 88.37]: c = n ln 2 + r with n whole and |r| <= 0.3466, e^r by its Taylor
 * series to r^7 (what is left out is below 0.3466^8 / 8! = 5.2e-9 of 0.7), times 2^n made from
 * bits. Relative error under 2 ulp (1.2e-7; tests/unit/kernels measures it). */
EVERY_ISA float vec_exp_within(const bool fused, float c) {
    const float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to whole
    float shifted = vec_multiply_add(fused, c, 1.44269504f, magic);
    float n = shifted - magic;
    float r = vec_multiply_add(fused, n, -0.693359375f, c); // ln 2 in two parts (Cody and Waite)
    r = vec_multiply_add(fused, n, 2.12194440e-4f, r);
    float p = 1.0f / 5040;
    p = vec_multiply_add(fused, p, r, 1.0f / 720);
    p = vec_multiply_add(fused, p, r, 1.0f / 120);
    p = vec_multiply_add(fused, p, r, 1.0f / 24);
    p = vec_multiply_add(fused, p, r, 1.0f / 6);
    p = vec_multiply_add(fused, p, r, 0.5f);
    p = vec_multiply_add(fused, p * r, r, r) + 1.0f;
    uint32_t n_bits = f32_bits(shifted) - f32_bits(magic);
    return p * f32_from_bits((n_bits + 127u) << 23);
}

/* e^x for any x: below -87.33, where the result would be subnormal, e^-87.33 = 1.2e-38;
 * above 88.37, e^88.37; NaN stays NaN. */
EVERY_ISA float vec_exp(float x) {
    float c = vec_select(x < -87.33f, -87.33f, x);
    return vec_exp_within(false, vec_select(c > 88.37f, 88.37f, c));
}

/* How much of a normal distribution lies above a >= 0, erfc(a / sqrt(2)) / 2: e^(-a^2 / 2) t P(t),
 * t = 1 / (1 + 0.325269119 a) (the form of Abramowitz and Stegun 7.1.26), P fitted for the least
 * largest error, 2.4e-8 of the result while that is above 1e-4. Here it is a polynomial in u = t -
 * 1, which rounds less near 0. Absolute error under 1e-7. */
EVERY_ISA float vec_normal_above(float a) {
    a = vec_select(a > 12.5f, 12.5f, a); // 4e-36
    float k = 0.325269119f * a, t = 1.0f / (1.0f + k), u = -k * t;
    float p = 0.0435860582f;
    p = p * u + 0.0410235468f;
    p = p * u - 0.100291271f;
    p = p * u - 0.0451672412f;
    p = p * u + 0.409929171f;
    p = p * u + 0.726497758f;
    p = p * u + 0.5f;
    return vec_exp(-0.5f * a * a) * (t * p);
}

/* tanh from e^-2|x|, and a series near 0 where that would cancel. Relative error under 4e-7. */
EVERY_ISA float vec_tanh(float x) {
    float a = f32_from_bits(f32_bits(x) & 0x7FFFFFFF), s = x * x;
    float e = vec_exp(-2.0f * a);
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
