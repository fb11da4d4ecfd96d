/* The i4 layouts: 16 rows of a matrix as one panel of 4-bit codes.
 *
 * A weight is scale[row] * m * (T[code] + c). T is a table of 16 int8 values. Each block of 16,
 * 32 or 64 inputs of a row has a descriptor byte: bits 0 to 5 are m in two's complement, from -32
 * to 31, and bits 6 and 7 are c / 4. So a weight has 4.5, 4.25 or 4.125 bits. Blocks of 64 are
 * called nf4: their table is NF4's. A negative m turns the table
 * around, so that a block whose largest value is positive fits as well as another. m * (T[code] +
 * c) is an integer of at most 13 bits, so sums over 256 inputs of its products with int8 fit in 32
 * bits: they are exact in any order.
 *
 * Inputs are padded to a multiple of 64 with blocks of m = 0. They are stored by superblocks of
 * 256, of which the last may be shorter. Numbers are little-endian.
 *
 *     panel:      | scales f32 [16] | superblock | superblock | ...
 *     superblock: | descriptors [blocks, 16], padded to 64 bytes | codes, 256 bytes for 32 inputs |
 *
 * The codes of 32 inputs are four lines of 64 bytes. Byte 4r + i of line j holds row r: its low
 * four bits are the code of input 4j + i, its high ones of input 16 + 4j + i.
 *
 * Panels follow each other. The last one is padded with rows of scale 0 and m = 0. quant(5)
 * describes the tensors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_PANEL_I4_H
#define WEIGHTS_PANEL_I4_H

#include <stddef.h>
#include <stdint.h>

#include "weights/panel_i8.h"

enum {
    PANEL_I4_MAX_M = 31,     // the least is -32
    PANEL_I4_SHIFTS = 4,     // c is 0, 4, 8 or 12
    PANEL_I4_SHIFT_STEP = 4, // from one c to the next
};

/* The table of a block size, 16, 32 or 64: increasing values from -124 to 112. */
const int8_t *panel_i4_table(size_t block);

/* A block's descriptor: m from -32 to 31, shift = c / 4 from 0 to 3. */
static inline uint8_t panel_i4_descriptor(int m, unsigned shift) {
    return (uint8_t)(((unsigned)m & 63) | shift << 6);
}
static inline int32_t panel_i4_m(uint8_t descriptor) {
    return (int32_t)((descriptor & 63) ^ 32) - 32;
}
/* m * (T[code] + c) */
static inline int32_t panel_i4_value(const int8_t *table, uint8_t descriptor, unsigned code) {
    return panel_i4_m(descriptor) * (table[code] + (descriptor >> 6) * PANEL_I4_SHIFT_STEP);
}

/* Bytes of a panel, a multiple of 64; SIZE_MAX if a size_t cannot count the bytes of its rows. */
size_t panel_i4_bytes(size_t n_in, size_t block);

/* The n_rows <= 16 rows of a panel. */
struct panel_i4_rows {
    const uint8_t *codes; // [n_rows, n_in], one a byte, 0 to 15
    size_t ld_codes;
    const uint8_t *descriptors; // [n_rows, ceil(n_in / block)]
    size_t ld_descriptors;
    const float *scales; // [n_rows]
    size_t n_rows, n_in, block;
};

/* Writes all panel_i4_bytes(n_in, block) bytes of a panel. */
void panel_i4_pack(unsigned char *to, const struct panel_i4_rows *rows);

/* The reference: row r of a panel as f32, out [n_in]. */
void panel_i4_row(const unsigned char *panel, size_t r, size_t n_in, size_t block, float *out);

#endif
