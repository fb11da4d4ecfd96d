/* AMX's instructions in C, to the bit: tile.h says what they do.
 *
 * Each thread has eight tiles. What the CPU refuses ends the program: shapes that do not fit
 * together, and use without a shape. TILE_FAST_BF16 and TILE_FAST_INT8, if the including file
 * defines them, compute TDPBF16PS and TDPBSSD's kind on whole tiles in place of the C here, with
 * the same bits.
 *
 * NaN: where an operand is NaN, or infinity meets zero or its opposite, the result is NaN. Which
 * NaN is not said.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TILE_EMULATED_H
#define KERNELS_TILE_EMULATED_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/tile.h"
#include "weights/half.h"

union tile {
    unsigned char byte[TILE_ROWS][TILE_BYTES];
    uint16_t half[TILE_ROWS][TILE_K];
    uint32_t word[TILE_ROWS][TILE_COLS];
    float f[TILE_ROWS][TILE_COLS];
};
struct tile_file {
    struct tile_config config; // palette 0: no shape yet
    union tile tile[TILES];
};
static _Thread_local struct tile_file tile_file;

/* ---- Shape, load, store ---- */

static inline void tile_emulated_shape(size_t rows, size_t cols) {
    const struct tile_config c = tile_config_of(rows, cols);
    if (rows < 1 || rows > TILE_ROWS || cols < 1 || cols > TILE_COLS)
        abort();
    if (memcmp(&c, &tile_file.config, sizeof c) != 0)
        tile_file = (struct tile_file){.config = c};
}

static inline void tile_emulated_zero(size_t t) {
    if (tile_file.config.palette != 1)
        abort();
    memset(&tile_file.tile[t], 0, sizeof tile_file.tile[t]);
}

static inline void tile_emulated_load(size_t t, const void *p, size_t stride) {
    tile_emulated_zero(t);
    for (size_t r = 0; r < tile_file.config.rows[t]; r++)
        memcpy(tile_file.tile[t].byte[r], (const unsigned char *)p + r * stride,
               tile_file.config.bytes[t]);
}

static inline void tile_emulated_store(size_t t, void *p, size_t stride) {
    if (tile_file.config.palette != 1)
        abort();
    for (size_t r = 0; r < tile_file.config.rows[t]; r++)
        memcpy((unsigned char *)p + r * stride, tile_file.tile[t].byte[r],
               tile_file.config.bytes[t]);
}

static inline void tile_emulated_fits(size_t c, size_t a, size_t b) {
    const struct tile_config *s = &tile_file.config;
    if (s->palette != 1 || s->rows[c] != s->rows[a] || s->bytes[c] != s->bytes[b] ||
        s->bytes[a] / sizeof(uint32_t) != s->rows[b])
        abort();
}

/* ---- BF16 ---- */

/* A subnormal is zero with its sign. */
static inline float tile_flush(float f) {
    return fabsf(f) < FLT_MIN ? copysignf(0, f) : f;
}
static inline float tile_add(float a, float b) {
    return tile_flush(a + b); // no rounding where the result is subnormal
}

/* a * b + c. A result is subnormal if it is one when it is rounded as if exponents had no lower
 * limit. Where it was rounded up to FLT_MIN, numbers 2^64 times as large show that: they are small
 * enough for it, or the sum could not be so close to zero. */
static inline float tile_fma(float a, float b, float c) {
    a = tile_flush(a);
    b = tile_flush(b);
    c = tile_flush(c);
    float f = fmaf(a, b, c);
    if (fabsf(f) == FLT_MIN && fabsf(fmaf(a * 0x1p64f, b, c * 0x1p64f)) < FLT_MIN * 0x1p64f)
        return copysignf(0, f);
    return tile_flush(f);
}

/* One element of C; a and b are pairs, b's 2 * cols apart. */
static inline float tile_element(float c, const uint16_t *a, const uint16_t *b, size_t ldb) {
    float even = 0, odd = 0;
    for (size_t k = 0; k < TILE_PAIRS; k++) {
        even = tile_fma(f32_from_bf16(a[2 * k]), f32_from_bf16(b[k * ldb]), even);
        odd = tile_fma(f32_from_bf16(a[2 * k + 1]), f32_from_bf16(b[k * ldb + 1]), odd);
    }
    return tile_add(tile_flush(c), tile_add(even, odd));
}

static inline void tile_emulated_bf16(size_t c, size_t a, size_t b) {
    union tile *tc = &tile_file.tile[c], *ta = &tile_file.tile[a], *tb = &tile_file.tile[b];
    const size_t rows = tile_file.config.rows[c], cols = tile_file.config.bytes[c] / sizeof(float);
    tile_emulated_fits(c, a, b);
#if defined(TILE_FAST_BF16)
    TILE_FAST_BF16(tc, ta, tb, rows, cols);
#else
    for (size_t m = 0; m < rows; m++)
        for (size_t n = 0; n < cols; n++)
            tc->f[m][n] = tile_element(tc->f[m][n], ta->half[m], &tb->half[0][2 * n], TILE_K);
#endif
}

/* ---- int8 ---- */

static inline int32_t tile_int8(unsigned char byte, bool is_signed) {
    return is_signed && byte > 127 ? (int32_t)byte - 256 : byte;
}

static inline void tile_emulated_int8(size_t c, size_t a, size_t b, bool a_signed, bool b_signed) {
    union tile *tc = &tile_file.tile[c], *ta = &tile_file.tile[a], *tb = &tile_file.tile[b];
    const size_t rows = tile_file.config.rows[c],
                 cols = tile_file.config.bytes[c] / sizeof(uint32_t);
    tile_emulated_fits(c, a, b);
#if defined(TILE_FAST_INT8)
    TILE_FAST_INT8(tc, ta, tb, rows, cols, a_signed, b_signed);
#else
    for (size_t m = 0; m < rows; m++)
        for (size_t n = 0; n < cols; n++)
            for (size_t k = 0; k < TILE_BYTES; k++)
                tc->word[m][n] += (uint32_t)(tile_int8(ta->byte[m][k], a_signed) *
                                             tile_int8(tb->byte[k / 4][4 * n + k % 4], b_signed));
#endif
}

#endif
