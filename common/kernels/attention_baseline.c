/* Attention's sums in C for what every CPU of the architecture has (see matmul_baseline.c).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define TARGET
enum { STEP = 4, COLS = 2 };

#include "kernels/vec_c_tmpl.h"
#include "kernels/attention_f32_tmpl.h"

void attention_baseline_fill(struct kernel_table *t) {
    fill_f32(t);
}
