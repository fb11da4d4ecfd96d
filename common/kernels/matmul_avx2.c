/* Matmul with AVX2 and FMA.
 *
 * ROWS * OUTS multiply-adds need ROWS + OUTS loads. To hide their latency, 4 cycles at 2 a cycle, 8
 * sums have to be in flight. The tile is as large as the registers
 * hold: 4 x 3 sums, 3 vectors of W and 1 of x are all 16, with 7 loads for 12 multiply-adds.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include "kernels/vec_avx2.h"

#define TARGET AVX2
enum { ROWS = 4, OUTS = 3, OUTS_1 = 4 };

#include "kernels/matmul_f32_tmpl.h"

void matmul_avx2_fill(struct kernel_table *t) {
    matmul_register(t, f32_kernels, N_F32_KERNELS);
}
#endif
