/* BF16, F16 and E4M3 from and to f32, one value at a time, without branches: in a loop over them
 * compilers make vector code, whatever instruction set the loop is compiled for.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_HALF_H
#define WEIGHTS_HALF_H

#include <stdint.h>
#include <string.h>

#define HALF_INLINE static inline __attribute__((always_inline))

HALF_INLINE uint32_t f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
HALF_INLINE float f32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* BF16 is the upper half of an f32. */
HALF_INLINE float f32_from_bf16(uint16_t h) {
    return f32_from_bits((uint32_t)h << 16);
}

/* Rounds to nearest even. A NaN stays one: it is made quiet. */
HALF_INLINE uint16_t bf16_from_f32(float f) {
    uint32_t u = f32_bits(f);
    uint32_t rounded = (u + 0x7FFF + ((u >> 16) & 1)) >> 16, quiet = (u >> 16) | 0x40;
    return (uint16_t)((u & 0x7FFFFFFF) > 0x7F800000 ? quiet : rounded);
}

/* Moves F16's fields to where f32 has them and multiplies by 2^112, the difference of the
 * exponents' biases. That makes subnormals right too. Infinity and NaN get f32's full exponent. */
HALF_INLINE float f32_from_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, rest = (uint32_t)(h & 0x7FFF) << 13;
    float f = f32_from_bits(rest) * f32_from_bits((127u + 112u) << 23);
    uint32_t u = (h & 0x7C00) == 0x7C00 ? rest | 0x7F800000 : f32_bits(f);
    return f32_from_bits(sign | u);
}

/* E4M3 without infinities (OCP 8-bit floating point specification): 1 sign, 4 exponent (bias 7), 3
 * mantissa bits. Moved to where f32 has them, times 2^120, the difference of the biases. */
HALF_INLINE float f32_from_e4m3(uint8_t b) {
    const uint32_t sign = (uint32_t)(b & 0x80) << 24, rest = (uint32_t)(b & 0x7F) << 20;
    const float f = f32_from_bits(rest) * f32_from_bits((127u + 120u) << 23);
    return f32_from_bits(sign | ((b & 0x7F) == 0x7F ? 0x7FC00000 : f32_bits(f)));
}

#endif
