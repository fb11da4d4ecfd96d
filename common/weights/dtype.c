/* Element types of safetensors: see dtype.h.
 *
 * Conversions are exact if the target can hold the value; otherwise they round to nearest even. The
 * narrow floats are those of the OCP Microscaling specification (F4 E2M1, F6, E8M0), of the OCP
 * 8-bit floating point specification (E5M2, E4M3 without infinities), and the FNUZ forms
 * (arXiv:2206.02915: no infinities, no negative zero, NaN is 0x80). Elements of 4 and 6 bits are
 * packed, the first in the low bits. Bytes are little-endian on every machine.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/dtype.h"

#include <math.h>

#define TYPE(name, bits) [DT_##name] = {{#name, sizeof #name - 1}, bits}
static const struct {
    struct str name;
    unsigned bits;
} types[DT_COUNT] = {
    TYPE(BOOL, 8),    TYPE(F4, 4),          TYPE(F6_E2M3, 6),     TYPE(F6_E3M2, 6),
    TYPE(U8, 8),      TYPE(I8, 8),          TYPE(F8_E5M2, 8),     TYPE(F8_E4M3, 8),
    TYPE(F8_E8M0, 8), TYPE(F8_E4M3FNUZ, 8), TYPE(F8_E5M2FNUZ, 8), TYPE(I16, 16),
    TYPE(U16, 16),    TYPE(F16, 16),        TYPE(BF16, 16),       TYPE(I32, 32),
    TYPE(U32, 32),    TYPE(F32, 32),        TYPE(C64, 64),        TYPE(F64, 64),
    TYPE(I64, 64),    TYPE(U64, 64),
};
#undef TYPE

const char *dtype_name(enum dtype t) {
    return types[t].name.p;
}

bool dtype_parse(struct str name, enum dtype *out) {
    for (int t = 0; t < DT_COUNT; t++)
        if (str_same(name, types[t].name)) {
            *out = (enum dtype)t;
            return true;
        }
    return false;
}

unsigned dtype_bits(enum dtype t) {
    return types[t].bits;
}

bool dtype_array_size(enum dtype t, size_t n_dims, const uint64_t *shape, uint64_t *n_elements,
                      uint64_t *n_bytes) {
    uint64_t n = 1, bits;
    for (size_t i = 0; i < n_dims; i++)
        if (__builtin_mul_overflow(n, shape[i], &n))
            return false;
    if (__builtin_mul_overflow(n, (uint64_t)types[t].bits, &bits) || bits % 8 != 0)
        return false;
    *n_elements = n;
    *n_bytes = bits / 8;
    return true;
}

static uint64_t load_le(const uint8_t *p, size_t n_bytes) {
    uint64_t v = 0;
    for (size_t i = 0; i < n_bytes; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* Element i of an array of `bits`-wide elements without gaps. With 4 or 6 bits it spans at most two
 * bytes. The second is read only if the element reaches into it. */
static unsigned load_packed(const uint8_t *p, size_t i, unsigned bits) {
    size_t byte = i / 8 * bits + i % 8 * bits / 8;
    unsigned shift = (unsigned)(i % 8 * bits % 8), v = (unsigned)p[byte] >> shift;
    if (shift + bits > 8)
        v |= (unsigned)p[byte + 1] << (8 - shift);
    return v & ((1u << bits) - 1);
}

/* Sign, exponent, mantissa, from the high bits. Exponent 0 is subnormal. No special values. */
static double small_float(unsigned v, unsigned exponent_bits, unsigned mantissa_bits, int bias) {
    unsigned mantissa = v & ((1u << mantissa_bits) - 1);
    int exponent = (int)(v >> mantissa_bits & ((1u << exponent_bits) - 1));
    if (exponent > 0)
        mantissa |= 1u << mantissa_bits;
    double magnitude = ldexp(mantissa, (exponent > 0 ? exponent : 1) - bias - (int)mantissa_bits);
    return v >> (mantissa_bits + exponent_bits) & 1 ? -magnitude : magnitude;
}

static double value_f8(enum dtype t, unsigned v) {
    switch (t) {
    case DT_F8_E5M2:
        if ((v & 0x7c) == 0x7c)
            return v & 3 ? (double)NAN : v & 0x80 ? (double)-INFINITY : (double)INFINITY;
        return small_float(v, 5, 2, 15);
    case DT_F8_E4M3:
        return (v & 0x7f) == 0x7f ? (double)NAN : small_float(v, 4, 3, 7);
    case DT_F8_E8M0:
        return v == 0xff ? (double)NAN : ldexp(1, (int)v - 127);
    case DT_F8_E4M3FNUZ:
        return v == 0x80 ? (double)NAN : small_float(v, 4, 3, 8);
    default: // DT_F8_E5M2FNUZ
        return v == 0x80 ? (double)NAN : small_float(v, 5, 2, 16);
    }
}

static double f64_from_bits(uint64_t bits) {
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

static double load_f32(const uint8_t *p) {
    return (double)f32_from_bits((uint32_t)load_le(p, 4));
}

double dtype_value(enum dtype t, const void *data, size_t i) {
    const uint8_t *p = data;
    switch (t) {
    case DT_F4:
        return small_float(load_packed(p, i, 4), 2, 1, 1);
    case DT_F6_E2M3:
        return small_float(load_packed(p, i, 6), 2, 3, 1);
    case DT_F6_E3M2:
        return small_float(load_packed(p, i, 6), 3, 2, 3);
    case DT_BOOL:
        return p[i] != 0;
    case DT_U8:
        return p[i];
    case DT_I8:
        return (int8_t)p[i];
    case DT_F8_E5M2:
    case DT_F8_E4M3:
    case DT_F8_E8M0:
    case DT_F8_E4M3FNUZ:
    case DT_F8_E5M2FNUZ:
        return value_f8(t, p[i]);
    case DT_I16:
        return (int16_t)load_le(p + 2 * i, 2);
    case DT_U16:
        return (double)load_le(p + 2 * i, 2);
    case DT_F16:
        return (double)f32_from_f16((uint16_t)load_le(p + 2 * i, 2));
    case DT_BF16:
        return (double)f32_from_bf16((uint16_t)load_le(p + 2 * i, 2));
    case DT_I32:
        return (int32_t)load_le(p + 4 * i, 4);
    case DT_U32:
        return (double)load_le(p + 4 * i, 4);
    case DT_F32:
        return load_f32(p + 4 * i);
    case DT_C64: // real part, imaginary part
        return load_f32(p + 8 * i);
    case DT_F64:
        return f64_from_bits(load_le(p + 8 * i, 8));
    case DT_I64:
        return (double)(int64_t)load_le(p + 8 * i, 8);
    case DT_U64:
        return (double)load_le(p + 8 * i, 8);
    case DT_COUNT:
        break;
    }
    return (double)NAN;
}

void dtype_values(enum dtype t, const void *data, size_t begin, size_t n, double *out) {
    const uint8_t *p = data;
    switch (t) {
    case DT_F16:
        for (size_t i = 0; i < n; i++)
            out[i] = (double)f32_from_f16((uint16_t)load_le(p + 2 * (begin + i), 2));
        break;
    case DT_BF16:
        for (size_t i = 0; i < n; i++)
            out[i] = (double)f32_from_bf16((uint16_t)load_le(p + 2 * (begin + i), 2));
        break;
    case DT_F32:
        for (size_t i = 0; i < n; i++)
            out[i] = load_f32(p + 4 * (begin + i));
        break;
    default:
        for (size_t i = 0; i < n; i++)
            out[i] = dtype_value(t, data, begin + i);
        break;
    }
}

/* v / 2^shift, to nearest even. */
static uint32_t shift_to_even(uint32_t v, unsigned shift) {
    uint32_t half = 1u << (shift - 1), odd = v >> shift & 1;
    return (v + half - 1 + odd) >> shift;
}

uint16_t f16_from_f32(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff)); // quiet NaN
    if (magnitude >= 0x477ff000) // 65520 and more round to infinity
        return (uint16_t)(sign | 0x7c00);
    if (magnitude >=
        0x38800000) // 2^-14: the smallest normal. A carry correctly adds 1 to the exponent
        return (uint16_t)(sign | shift_to_even(magnitude - ((127u - 15) << 23), 13));
    uint32_t exponent = magnitude >> 23;
    if (exponent < 102) // below 2^-25: half of the smallest subnormal
        return (uint16_t)sign;
    return (uint16_t)(sign | shift_to_even((magnitude & 0x7fffff) | 0x800000, 126 - exponent));
}
