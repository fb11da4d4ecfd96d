/* Rows of layouts that are multiplied in f32, as f32. Private to common/kernels.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_WIDEN_H
#define KERNELS_WIDEN_H

#include "weights/mat.h"

/* Rows [begin, end) of w -> to [end - begin, n_in]: the bits of mat_row, for every layout. */
void widen_rows(float *to, const struct mat *w, size_t begin, size_t end);

#endif
