/* Matmul with AMX's tiles: BF16 (matmul_amx_tmpl.h), F16 and E4M3 (matmul_amx_parts_tmpl.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_AMX
#define TARGET AMX
#include "kernels/matmul_amx_tmpl.h"

#include "kernels/matmul_amx_parts_tmpl.h"

void matmul_amx_fill(struct kernel_table *t) {
    matmul_register(t, amx_kernels, sizeof amx_kernels / sizeof *amx_kernels);
    matmul_register(t, amx_parts_kernels, sizeof amx_parts_kernels / sizeof *amx_parts_kernels);
}
#endif
