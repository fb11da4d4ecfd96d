/* The tiles in C, in GNU C's vector types, so that they are vectors whatever the optimiser thinks.
 * Compiled for the registers that every 64-bit CPU has (SSE2, NEON: four lanes), and for AVX (eight
 * lanes, and instructions that leave their operands alone).
 *
 * 4 x 2 sums, 2 of w, 1 of x and a product fit the 16 registers of SSE2; 4 x 3, 3 and 1 are those
 * of AVX.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/tile.h"

#define ISA baseline
#define TARGET
#define STEP     4
#define ROWS     4
#define OUTS     2
#define MIX_COLS 2
#include "kernels/tile_c.h"

#if defined(__x86_64__)
#define ISA      avx
#define TARGET   __attribute__((target("avx")))
#define STEP     8
#define ROWS     4
#define OUTS     3
#define MIX_COLS 2
#include "kernels/tile_c.h"
#endif

void tiles_c_fill(struct kernel_table *t, enum isa isa) {
    if (isa == ISA_BASELINE)
        fill_baseline(t);
#if defined(__x86_64__)
    if (isa == ISA_C && __builtin_cpu_supports("avx"))
        fill_avx(t);
#endif
}
