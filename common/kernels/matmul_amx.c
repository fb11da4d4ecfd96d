/* Matmul with AMX's tiles (matmul_amx_tmpl.h).
 *
 * F16 stays with the f32 kernels: rounded to bf16, its weights would lose three bits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_AMX
#define TARGET AMX
#include "kernels/matmul_amx_tmpl.h"

void matmul_amx_fill(struct kernel_table *t) {
    matmul_register(t, amx_kernels, 1);
}
#endif
