/* The integer layouts with AVX-VNNI: vpdpbusd and vpdpwssd for 8 lanes.
 *
 * 4 rows of many are 8 sums, beside 2 vectors of W and one of x; their totals are in memory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include "kernels/matmul_int.h"
#include "kernels/vec_int_avx2.h"

#define TARGET AVXVNNI
enum {
    PLANES = 1,
    LANES = 8,
    PANELS = 1,
    FEW = 2,
    MANY = 4,
    FEW_HALVES = 4,
    FEW_BYTES = MATMUL_INT_ROWS
};

TARGET EVERY_ISA ivec iv_dot(ivec sum, ivec w, ivec x) {
    return _mm256_dpbusd_avx_epi32(sum, w, x);
}
TARGET EVERY_ISA ivec iv_dot16(ivec sum, ivec a, ivec b) {
    return _mm256_dpwssd_avx_epi32(sum, a, b);
}
#include "kernels/vec_int_vnni_tmpl.h"

#include "kernels/matmul_int_tmpl.h"
#include "kernels/matmul_group_tmpl.h"

void matmul_int_avxvnni_fill(struct kernel_table *t) {
    matmul_register(t, int_kernels, N_INT_KERNELS);
    matmul_register(t, group_kernels, N_GROUP_KERNELS);
}
#endif
