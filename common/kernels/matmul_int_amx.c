/* The integer layouts with AMX's tiles (matmul_int_amx_tmpl.h). Few rows of x stay with the kernels
 * that the table has before, whose bits are the same.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_AMX
#define TARGET AMX
#include "kernels/matmul_int_amx_tmpl.h"

void matmul_int_amx_fill(struct kernel_table *t) {
    matmul_register(t, amx_int_kernels, N_AMX_INT_KERNELS);
}
#endif
