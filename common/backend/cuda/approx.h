/* Elementary functions of the kernels: the operations of common/kernels/approx.h and rows.c in
 * the same order, so that the CPU, the GPU and the shim give the same bits. (attend_exp and
 * attend_tanh are fused forms, with fmaf; the others never contract.)
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_APPROX_H
#define BACKEND_CUDA_APPROX_H

#include "backend/cuda/device.h"

/* 2^n from n + 1.5 * 2^23, whose low 9 bits are those of n. */
DEVICE float approx_power(float shifted) {
    return __uint_as_float((__float_as_uint(shifted) << 23) + (127u << 23));
}

/* e^c for c in [-87.33, 88.37] (approx_exp_within): c = n ln 2 + r with n whole, e^r by its Taylor
 * series to r^7, times 2^n. */
DEVICE float approx_exp_within(float c) {
    const float magic = 12582912.0f; // 1.5 * 2^23: adding it rounds to whole
    float shifted = c * 1.44269504f + magic;
    float n = shifted - magic;
    float r = n * -0.693359375f + c; // ln 2 in two parts (Cody and Waite)
    r = n * 2.12194440e-4f + r;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r * r + r + 1.0f;
    return p * approx_power(shifted);
}

/* e^x for any x: below -87.33, where the result would be subnormal, e^-87.33 = 1.2e-38;
 * above 88.37, e^88.37; NaN stays NaN. */
DEVICE float approx_exp(float x) {
    float c = x < -87.33f ? -87.33f : x;
    return approx_exp_within(c > 88.37f ? 88.37f : c);
}

/* tanh from e^-2|x|, and a series near 0 where that would cancel. Relative error under 4e-7. */
DEVICE float approx_tanh(float x) {
    float a = fabsf(x), s = x * x;
    float e = approx_exp(-2.0f * a);
    float far = (1.0f - e) / (1.0f + e);
    far = __uint_as_float(__float_as_uint(far) | (__float_as_uint(x) & 0x80000000u));
    // x - x^3/3 + 2x^5/15 - 17x^7/315 + 62x^9/2835 - 1382x^11/155925
    float p = -1382.0f / 155925;
    p = p * s + 62.0f / 2835;
    p = p * s - 17.0f / 315;
    p = p * s + 2.0f / 15;
    p = p * s - 1.0f / 3;
    float near = x + x * (s * p);
    return a < 0.35f ? near : far;
}

/* How much of a normal distribution is above a >= 0 (approx_normal_above). Absolute error under
 * 1e-7.
 */
DEVICE float approx_normal_above(float a) {
    a = a > 12.5f ? 12.5f : a; // 4e-36
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

DEVICE float approx_silu(float x) {
    return x / (1.0f + approx_exp(-x));
}
/* Hendrycks and Gimpel 2016, the tanh form. */
DEVICE float approx_gelu_tanh(float x) {
    return 0.5f * x * (1.0f + approx_tanh(0.797884561f * (x + 0.044715f * x * x * x)));
}
/* The same authors' exact form. */
DEVICE float approx_gelu_erf(float x) {
    float above = approx_normal_above(fabsf(x));
    return x * (x < 0 ? above : 1.0f - above);
}
DEVICE float approx_relu(float x) {
    return x > 0 ? x : 0 * x; // NaN stays NaN
}

DEVICE float approx_act(uint32_t act, float x) { // enum cu_act
    switch (act) {
    case CU_SILU:
        return approx_silu(x);
    case CU_GELU_TANH:
        return approx_gelu_tanh(x);
    case CU_GELU_ERF:
        return approx_gelu_erf(x);
    default:
        return approx_relu(x);
    }
}

/* e^x for x <= 0 with fused steps, for softmax: `least` (a zero) below -87.33, -infinity included;
 * NaN stays NaN. */
DEVICE float attend_exp(float x, float least) {
    const float magic = 12582912.0f;
    float shifted = fmaf(x, 1.44269504f, magic);
    float n = shifted - magic;
    float r = fmaf(n, -0.693359375f, x);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.0f / 5040;
    p = fmaf(p, r, 1.0f / 720);
    p = fmaf(p, r, 1.0f / 120);
    p = fmaf(p, r, 1.0f / 24);
    p = fmaf(p, r, 1.0f / 6);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p * r, r, r) + 1.0f;
    p = p * approx_power(shifted);
    return x < -87.33f ? least : p;
}

/* As approx_tanh, with fused steps and without a division: 1 / (1 + e) by Newton's method from a
 * line, 17^-8 off at the end. */
DEVICE float attend_tanh(float x) {
    float a = fabsf(x), s = x * x;
    float e = attend_exp(-2.0f * a, 0.0f), d = 1.0f + e;
    float r = fmaf(d, -8.0f / 17, 24.0f / 17);
    r = fmaf(r, fmaf(-d, r, 1.0f), r);
    r = fmaf(r, fmaf(-d, r, 1.0f), r);
    r = fmaf(r, fmaf(-d, r, 1.0f), r);
    float far = (1.0f - e) * r;
    far = fmaf(fmaf(-d, far, 1.0f - e), r, far);
    far = __uint_as_float(__float_as_uint(far) | (__float_as_uint(x) & 0x80000000u));
    float p = -1382.0f / 155925;
    p = fmaf(p, s, 62.0f / 2835);
    p = fmaf(p, s, -17.0f / 315);
    p = fmaf(p, s, 2.0f / 15);
    p = fmaf(p, s, -1.0f / 3);
    float near = fmaf(x, s * p, x);
    return a < 0.35f ? near : far;
}

#endif
