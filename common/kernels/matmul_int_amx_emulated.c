/* The integer layouts with emulated tiles, for tests.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_AMX
#define TARGET         AVX512
#define TILES_EMULATED 1
#include "kernels/tile_emulated_avx512.h"

#include "kernels/matmul_int_amx_tmpl.h"

void matmul_int_amx_emulated_fill(struct kernel_table *t) {
    matmul_register(t, amx_int_kernels, N_AMX_INT_KERNELS);
}
#endif
