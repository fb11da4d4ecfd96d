/* Attention's sums with AVX-512.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include "kernels/vec_avx512.h"

#define TARGET AVX512
enum { STEP = VEC_LANES, COLS = 4 };

AVX512 EVERY_ISA vec multiply_add(vec acc, vec x, vec w) {
    return vec_multiply_add(acc, x, w);
}

#include "kernels/attention_f32_tmpl.h"

void attention_avx512_fill(struct kernel_table *t) {
    fill_f32(t);
}
#endif
