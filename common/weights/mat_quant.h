/* mat_row's part for quantised layouts. Private to common/weights.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_MAT_QUANT_H
#define WEIGHTS_MAT_QUANT_H

#include "weights/mat.h"

/* Row i of w, whose layout is a quantised one, as f32, out [n_in]. */
void mat_quant_row(const struct mat *w, size_t i, float *out);

#endif
