/* Matmul with emulated tiles, for tests and to reproduce an AMX machine's bits elsewhere.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_AMX
#define TARGET         AVX512
#define TILES_EMULATED 1
#include "kernels/tile_emulated_avx512.h"

#include "kernels/matmul_amx_tmpl.h"

#include "kernels/matmul_amx_parts_tmpl.h"

void matmul_amx_emulated_fill(struct kernel_table *t) {
    matmul_register(t, amx_kernels, sizeof amx_kernels / sizeof *amx_kernels);
    matmul_register(t, amx_parts_kernels, sizeof amx_parts_kernels / sizeof *amx_parts_kernels);
}
#endif
