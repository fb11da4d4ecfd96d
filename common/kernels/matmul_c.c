/* Matmul in C, compiled for AVX: eight lanes, and instructions that do not overwrite an operand.
 * Other architectures have matmul_baseline.c.
 *
 * 4 x 3 sums, 3 vectors of W and 1 of x are AVX's 16 registers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx")))
enum { STEP = 8, ROWS = 4, OUTS = 3, OUTS_1 = 4 };

#include "kernels/vec_c_tmpl.h"
#include "kernels/matmul_f32_tmpl.h"

void matmul_c_fill(struct kernel_table *t) {
    if (__builtin_cpu_supports("avx"))
        matmul_register(t, f32_kernels, N_F32_KERNELS);
}
#endif
