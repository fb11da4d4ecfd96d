/* A weight matrix W [n_out, n_in], whatever file it came from: what kernels and devices read.
 *
 * A mat only points to its bytes, which are in the mapping of a file or in memory of the loader.
 * Row i is row_bytes long and begins at data + i * row_bytes, at any alignment.
 *
 *     data -> | row 0: n_in elements | row 1 | ... | row n_out - 1 |
 *
 * MAT_I8 and MAT_I4_* have panels of 16 rows instead (panel_i8.h, panel_i4.h): panel p begins at
 * data + 16 * p * row_bytes, and the last one is padded.
 *
 * A new layout is an enumerator here, its case in mat_row (the reference), and kernels that read
 * it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_MAT_H
#define WEIGHTS_MAT_H

#include <stdbool.h>
#include <stddef.h>

#include "weights/dtype.h"

enum mat_layout { MAT_F32, MAT_F16, MAT_BF16, MAT_I8, MAT_I4_32, MAT_I4_16, MAT_LAYOUTS };

struct mat {
    enum mat_layout layout;
    size_t n_out, n_in, row_bytes;
    const void *data; // NULL: the model has no such matrix
};

/* data holds n_out * n_in elements of type t, which must be one of mat_layout_of's. The result's
 * data is NULL if their bytes are more than a size_t can count. */
struct mat mat_plain(const void *data, enum dtype t, size_t n_out, size_t n_in);

/* data holds the panels of a layout that has them. The result's data is NULL if their bytes are
 * more than a size_t can count. */
struct mat mat_panels(const void *data, enum mat_layout layout, size_t n_out, size_t n_in);

/* Rows that are stored together: 16 where the layout has panels, else 1. */
size_t mat_panel_rows(enum mat_layout layout);

/* The layout of plain elements of type t; false if no kernel reads them. */
bool mat_layout_of(enum dtype t, enum mat_layout *out);

/* A view of rows [first, first + n), which must be rows of w: q, k or v of a fused matrix, or gate
 * or up. `first` must be a multiple of mat_panel_rows. */
struct mat mat_rows(const struct mat *w, size_t first, size_t n);

/* The reference: row i as f32, out [n_in]. The embedding, the C kernel and the tests read it. */
void mat_row(const struct mat *w, size_t i, float *out);

/* Bytes of all rows, with the padding of the last panel; 0 if data is NULL, SIZE_MAX if a size_t
 * cannot count them. */
size_t mat_bytes(const struct mat *w);

#endif
