/* The i8 layout: 16 rows of a matrix as one panel of 8-bit codes.
 *
 * A weight is scale[row] * m * w, with w from -127 to 127 and an integer m from 0 to 255 for each
 * block of 32 inputs of a row. So a weight has 8.25 bits. w is stored as the byte w + 128.
 *
 * Inputs are padded to a multiple of 64 with blocks of m = 0. They are stored by superblocks of
 * 256, of which the last may be shorter. Numbers are little-endian.
 *
 *     panel:      | scales f32 [16] | superblock | superblock | ...
 *     superblock: | m [blocks, 16], padded to 64 bytes | inputs 0..3: row 0, ... row 15 | 4..7 |
 * ...
 *
 * The rows of 4 inputs are a line of 64 bytes, which is the order of vpdpbusd and of a B tile of
 * AMX.
 *
 * Panels follow each other. The last one is padded with rows of scale 0 and m = 0. quant(5)
 * describes the tensors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_PANEL_I8_H
#define WEIGHTS_PANEL_I8_H

#include <stddef.h>
#include <stdint.h>

enum {
    PANEL_ROWS = 16,   // rows of a panel
    PANEL_LINE = 64,   // bytes of 4 inputs of i8, and of the scales
    PANEL_K = 64,      // inputs are padded to a multiple of it
    PANEL_SUPER = 256, // inputs of a superblock
    PANEL_I8_BLOCK = 32,
    PANEL_I8_MAX_M = 255,
    PANEL_I8_OFFSET = 128, // a byte is w + 128
};

/* n_in rounded up to a multiple of PANEL_K, SIZE_MAX if that overflows. */
size_t panel_inputs(size_t n_in);

/* Bytes of the descriptors of a superblock of n inputs: a byte a block and row. */
size_t panel_descriptor_bytes(size_t n, size_t block);

/* Bytes of a panel, a multiple of 64; SIZE_MAX if a size_t cannot count the bytes of its rows. */
size_t panel_i8_bytes(size_t n_in);

/* The n_rows <= 16 rows of a panel. */
struct panel_i8_rows {
    const int8_t *codes; // [n_rows, n_in], -127 to 127
    size_t ld_codes;
    const uint8_t *m; // [n_rows, ceil(n_in / PANEL_I8_BLOCK)]
    size_t ld_m;
    const float *scales; // [n_rows]
    size_t n_rows, n_in;
};

/* Writes all panel_i8_bytes(n_in) bytes of a panel. */
void panel_i8_pack(unsigned char *to, const struct panel_i8_rows *rows);

/* The reference: row r of a panel as f32, out [n_in]. */
void panel_i8_row(const unsigned char *panel, size_t r, size_t n_in, float *out);

/* ---- For the layouts of panels ---- */

/* Where the superblock of input k begins in a panel, and its parts. */
struct panel_super {
    size_t at, codes; // bytes from the panel's start: of its descriptors, of its codes
    size_t n;         // inputs
};
/* A superblock's codes take line_bytes for 4 inputs: 64 or 32. */
struct panel_super panel_super_of(size_t k, size_t n_in, size_t block, size_t line_bytes);

/* Bytes of a panel; SIZE_MAX if a size_t cannot count the bytes of its rows. */
size_t panel_bytes(size_t n_in, size_t block, size_t line_bytes);

#endif
