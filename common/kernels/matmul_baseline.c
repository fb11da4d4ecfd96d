/* Matmul in C for what every CPU of the architecture has: four lanes (SSE2, NEON).
 *
 * 4 x 2 sums, 2 vectors of W, 1 of x and a product fit the 16 registers of SSE2.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define TARGET
enum { STEP = 4, ROWS = 4, OUTS = 2, OUTS_1 = 4 };

#include "kernels/vec_c_tmpl.h"
#include "kernels/matmul_f32_tmpl.h"

void matmul_baseline_fill(struct kernel_table *t) {
    matmul_register(t, f32_kernels, N_F32_KERNELS);
}
