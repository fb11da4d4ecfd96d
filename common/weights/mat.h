/* A weight matrix W [n_out, n_in], whatever file it came from: what kernels and devices read.
 *
 * A mat only points to its bytes, which are in the mapping of a file or in memory of the loader.
 * Row i of a plain layout is row_bytes long and begins at data + i * row_bytes, at any alignment.
 *
 *     data -> | row 0: n_in elements | row 1 | ... | row n_out - 1 |
 *
 * Quantised layouts have a struct mat_quant too: scales, and how a code becomes a value. There a
 * view of rows points to the data of the whole matrix, and `first` is the view's first row.
 *
 * MAT_G4 and MAT_G8 store codes in panels of MAT_PANEL rows, in vectors of 64 bytes. A row has an
 * even share of its panel: row_bytes is a panel's bytes / MAT_PANEL. The last panel and the end of
 * the inputs are padded; x is 0 there, so that padding has no effect.
 *
 *     data -> | panel 0: vector 0 | vector 1 | ... | panel 1 ... |
 *
 *     MAT_G8: vector v, byte 4r + i                 code of row r, input 4v + i
 *     MAT_G4: vector 4b + j, byte 4r + i, low half  code of row r, input 32b + 4j + i
 *                                         high half               input 32b + 16 + 4j + i
 *
 * MAT_F8 and MAT_NF4 are as files have them: rows of E4M3 bytes; rows of half bytes, of which the
 * high half comes first. n_in of MAT_NF4 is even.
 *
 * MAT_K4 and MAT_K8 store codes as MAT_G4 and MAT_G8 do; their scales have two levels.
 *
 * MAT_I8 and MAT_I4_* are those of quant(5): panels of 16 rows with their scales (panel_i8.h,
 * panel_i4.h). Panel p begins at data + 16 * p * row_bytes, and the last one is padded.
 *
 * A new layout is an enumerator here, its case in mat_row (the reference), and kernels that read
 * it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_MAT_H
#define WEIGHTS_MAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weights/dtype.h"

enum mat_layout {
    MAT_F32,
    MAT_F16,
    MAT_BF16,
    MAT_G4,    // panels of 4-bit codes, groups of inputs with a scale
    MAT_G8,    // the same with 8-bit codes
    MAT_F8,    // E4M3, a scale for each block of rows and inputs
    MAT_NF4,   // 4-bit codes of a table of floats, a scale for each run of elements
    MAT_K4,    // panels of 4-bit codes, integer scales of groups under F16 scales of 256 inputs
    MAT_K8,    // the same with 8-bit codes
    MAT_I8,    // our own panels, 8 bits
    MAT_I4_32, // our own panels, 4 bits, blocks of 32 inputs
    MAT_I4_16, // the same, blocks of 16
    MAT_I4_64, // our own panels, 4 bits, blocks of 64 and NF4's table: nf4 of quant(5)
    MAT_LAYOUTS
};

enum {
    MAT_PANEL = 16,        // rows of a panel
    MAT_G4_BLOCK = 32,     // inputs of four vectors
    MAT_G8_BLOCK = 4,      // inputs of one vector
    MAT_SUPER = 256,       // inputs with one F16 scale in MAT_K4 and MAT_K8
    MAT_QUANT_IN = 1 << 17 // most inputs of a quantised matrix: a row as f32 fits in scratch
};

/* How the codes of a quantised layout become values. Of row i and group g:
 *
 *     MAT_G4  W = (table[code] - zero) * s + bias     zero, s, bias: of row i, group g
 *     MAT_G8  W = (code - zero) * s + bias            s = scales[i, g] * factor, in f32
 *     MAT_K4, MAT_K8  W = (code - zero) * (d * step) - dmin * low
 *                     d, dmin: F16 of row i and 256 inputs; step, low: of row i, group g
 *     MAT_F8  W = E4M3(code) * scales[i / block_rows][input / group]
 *     MAT_NF4 W = values[code] * scales[(i * n_in + input) / group]
 *
 * Scales, zeros and biases of panels are stored as [panel][group][MAT_PANEL], those of MAT_F8 and
 * MAT_NF4 as f32. Input p of the panels is in group p / `group`, and is input order[p] of the
 * matrix. */
struct mat_quant {
    size_t group;          // inputs (MAT_NF4: elements) with one scale; the last may be shorter
    size_t n_groups;       // of a row
    enum dtype scale_type; // of scales and biases: F32, F16 or BF16
    const void *scales;
    const void *biases;    // or NULL: 0
    const uint8_t *zeros;  // or NULL: all are `zero`
    int32_t zero;          // [0, 255]
    float factor;          // of all scales of panels
    int8_t table[16];      // MAT_G4
    float values[16];      // MAT_NF4
    const uint32_t *order; // [n_in], a permutation; or NULL: the inputs are in order
    size_t block_rows;     // MAT_F8: rows with one scale
    // MAT_K4 and MAT_K8, as panels: [panel][supers][MAT_PANEL] and [panel][group][MAT_PANEL].
    const void *d, *dmin; // F16, at any alignment; dmin NULL: no lows
    const int8_t *steps;
    const uint8_t *lows;
};

/* Whether the panels have 4-bit codes, as MAT_G4 has. */
static inline bool mat_has_halves(enum mat_layout layout) {
    return layout == MAT_G4 || layout == MAT_K4;
}

struct mat {
    enum mat_layout layout;
    size_t n_out, n_in, row_bytes;
    const void *data;              // NULL: the model has no such matrix
    size_t first;                  // row of the whole matrix that is row 0 here; plain layouts: 0
    const struct mat_quant *quant; // of the whole matrix; NULL: a plain layout
};

/* data holds n_out * n_in elements of type t, which must be one of mat_layout_of's. The result's
 * data is NULL if their bytes are more than a size_t can count. */
struct mat mat_plain(const void *data, enum dtype t, size_t n_out, size_t n_in);

/* data holds the panels of a layout that has them. The result's data is NULL if their bytes are
 * more than a size_t can count. */
struct mat mat_panels(const void *data, enum mat_layout layout, size_t n_out, size_t n_in);

/* Rows that are stored together: 16 where the layout has panels, else 1. */
size_t mat_panel_rows(enum mat_layout layout);

/* Inputs that share a descriptor in an i4 layout; 0: another layout. */
static inline size_t mat_i4_block(enum mat_layout layout) {
    return layout == MAT_I4_16 ? 16 : layout == MAT_I4_32 ? 32 : layout == MAT_I4_64 ? 64 : 0;
}

/* The layout of plain elements of type t; false if no kernel reads them. */
bool mat_layout_of(enum dtype t, enum mat_layout *out);

/* "bf16", "4-bit groups": for messages. */
const char *mat_layout_name(enum mat_layout layout);

/* A view of rows [first, first + n), which must be rows of w: q, k or v of a fused matrix, or gate
 * or up. `first` must be a multiple of mat_panel_rows. */
struct mat mat_rows(const struct mat *w, size_t first, size_t n);

/* Where the bytes of row i begin; those of panels are spread over the panel that begins at or
 * before it. */
static inline const unsigned char *mat_at(const struct mat *w, size_t i) {
    return (const unsigned char *)w->data + (w->first + i) * w->row_bytes;
}

/* The reference: row i as f32, out [n_in]. The embedding, the C kernel and the tests read it. */
void mat_row(const struct mat *w, size_t i, float *out);

/* Bytes of all rows, without scales of a mat_quant and with the padding of the last panel; 0 if
 * data is NULL, SIZE_MAX if a size_t cannot count them. */
size_t mat_bytes(const struct mat *w);

/* ---- Panels ---- */

/* Row i of MAT_G4, MAT_G8, MAT_K4 or MAT_K8: the s and bias of group g, and its zero. */
void mat_group(const struct mat *w, size_t i, size_t g, float *scale, float *bias, int32_t *zero);

/* Bytes of a panel of n_in inputs of MAT_G4, MAT_G8, MAT_K4 or MAT_K8. */
size_t mat_panel_bytes(enum mat_layout layout, size_t n_in);

/* Stores codes [n_rows, n_in] (n_rows at most MAT_PANEL, stride ld) as one panel, which is
 * mat_panel_bytes long. Missing rows and inputs get the code `pad`. */
void mat_panel_store(enum mat_layout layout, unsigned char *panel, const uint8_t *codes, size_t ld,
                     size_t n_rows, size_t n_in, uint8_t pad);

#endif
