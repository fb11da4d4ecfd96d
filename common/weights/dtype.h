/* The element types of safetensors, their sizes, and conversion of single values (BF16 and F16 to
 * f32: half.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_DTYPE_H
#define WEIGHTS_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/mem.h"
#include "weights/half.h"

/* Every dtype of the format (safetensors/src/tensor.rs, enum Dtype). */
enum dtype {
    DT_BOOL,
    DT_F4,
    DT_F6_E2M3,
    DT_F6_E3M2,
    DT_U8,
    DT_I8,
    DT_F8_E5M2,
    DT_F8_E4M3,
    DT_F8_E8M0,
    DT_F8_E4M3FNUZ,
    DT_F8_E5M2FNUZ,
    DT_I16,
    DT_U16,
    DT_F16,
    DT_BF16,
    DT_I32,
    DT_U32,
    DT_F32,
    DT_C64,
    DT_F64,
    DT_I64,
    DT_U64,
    DT_COUNT
};

const char *dtype_name(enum dtype t);               // "BF16"
bool dtype_parse(struct str name, enum dtype *out); // exact spelling
unsigned dtype_bits(enum dtype t);                  // of one element: 4, 6, 8, 16, ...

/* The number of elements of a shape, and their bytes. A scalar (n_dims 0) has one. False if a
 * product overflows 64 bits, or if elements of 4 or 6 bits do not fill whole bytes. */
bool dtype_array_size(enum dtype t, size_t n_dims, const uint64_t *shape, uint64_t *n_elements,
                      uint64_t *n_bytes);

/* The value of element i of an array at data (any alignment), as double. Integers past 2^53 are
 * rounded. Of C64 it is the real part. */
double dtype_value(enum dtype t, const void *data, size_t i);

/* The same for elements [begin, begin + n) -> out [n]; faster for the types of weights. */
void dtype_values(enum dtype t, const void *data, size_t begin, size_t n, double *out);

uint16_t f16_from_f32(float f); // round to nearest even, IEEE 754

#endif
