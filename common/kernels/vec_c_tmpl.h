/* Vectors of STEP floats in C: GNU C's vector types, which are vectors whatever the optimiser
 * thinks. The including file defines STEP, a power of two, and TARGET.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "kernels/every_isa.h"
#include "weights/mat.h"

typedef float vec __attribute__((vector_size(STEP * 4)));
typedef uint32_t vec_bits __attribute__((vector_size(STEP * 4)));
typedef uint16_t vec_half __attribute__((vector_size(STEP * 2)));

TARGET EVERY_ISA vec vec_zero(void) {
    return (vec){0};
}
TARGET EVERY_ISA vec vec_spread(float f) {
    return f - (vec){0};
}

/* The first n lanes; the rest of what is loaded is zero. */
TARGET EVERY_ISA vec vec_load(const float *p, size_t n) {
    vec v = {0};
    memcpy(&v, p, n * sizeof *p);
    return v;
}
TARGET EVERY_ISA void vec_store(float *p, vec v, size_t n) {
    memcpy(p, &v, n * sizeof *p);
}

/* Of lanes that hold two bf16 each: the lower one as f32, the upper one. */
TARGET EVERY_ISA vec vec_lower(vec v) {
    return (vec)((vec_bits)v << 16);
}
TARGET EVERY_ISA vec vec_upper(vec v) {
    return (vec)((vec_bits)v & 0xFFFF0000);
}

TARGET EVERY_ISA vec vec_multiply(vec a, vec b) {
    return a * b;
}
TARGET EVERY_ISA vec multiply_add(vec acc, vec x, vec w) {
    return acc + x * w;
}

TARGET EVERY_ISA vec load_x(const float *p, size_t n) {
    return vec_load(p, n);
}
TARGET EVERY_ISA vec load_w(const enum mat_layout layout, const unsigned char *p, size_t n) {
    if (layout == MAT_F32)
        return vec_load((const float *)(const void *)p, n);
    vec_half h = {0};
    memcpy(&h, p, n * 2);
    vec_bits u = __builtin_convertvector(h, vec_bits);
    if (layout == MAT_BF16)
        return (vec)(u << 16);
    // As f32_from_f16.
    vec_bits rest = (u & 0x7FFF) << 13, special = (vec_bits)((u & 0x7C00) == 0x7C00);
    vec_bits f = (vec_bits)((vec)rest * f32_from_bits((127u + 112u) << 23));
    return (vec)((u & 0x8000) << 16 | (special & (rest | 0x7F800000)) | (~special & f));
}

/* (0+1) + (2+3), and with eight lanes that + ((4+5) + (6+7)), of each of n vectors. */
TARGET EVERY_ISA void sum_lanes(float *y, const vec *v, size_t n) {
    UNROLLED for (size_t i = 0; i < n; i++) {
        y[i] = (v[i][0] + v[i][1]) + (v[i][2] + v[i][3]);
        if (STEP == 8)
            y[i] += (v[i][STEP - 4] + v[i][STEP - 3]) + (v[i][STEP - 2] + v[i][STEP - 1]);
    }
}
