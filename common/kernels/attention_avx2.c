/* Attention's sums with AVX2 and FMA.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include "kernels/vec_avx2.h"

#define TARGET AVX2
enum { COLS = 2 };

#include "kernels/attention_f32_tmpl.h"

void attention_avx2_fill(struct kernel_table *t) {
    fill_f32(t);
}
#endif
