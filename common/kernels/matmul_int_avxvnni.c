/* The integer layouts with AVX-VNNI: vpdpbusd and vpdpwssd for 8 lanes.
 *
 * All numbers of rows are few: with 16 registers a tile has too few sums for vpdpwssd's latency. In
 * cache, 32 rows of i4_32 take 1.7 times as long with strips of int16, those of i4_16 1.3 times.
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
    FEW_HALVES = MATMUL_INT_ROWS,
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
