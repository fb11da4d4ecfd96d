/* Attention's sums in C, compiled for AVX (see matmul_c.c).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"

#if defined(__x86_64__)
#define TARGET __attribute__((target("avx")))
enum { STEP = 8, COLS = 2 };

#include "kernels/vec_c_tmpl.h"
#include "kernels/attention_f32_tmpl.h"

void attention_c_fill(struct kernel_table *t) {
    if (__builtin_cpu_supports("avx"))
        fill_f32(t);
}
#endif
