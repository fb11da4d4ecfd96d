/* Attention's sums with emulated tiles, for tests and to reproduce an AMX machine's bits elsewhere.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_AMX
#define TARGET         AVX512
#define TILES_EMULATED 1
#include "kernels/tile_emulated_avx512.h"

#include "kernels/attention_amx_tmpl.h"

void attention_amx_emulated_fill(struct kernel_table *t) {
    t->attn.sum_bf16 = weighted_sum_bf16;
    t->attn.round = round_bf16;
}
#endif
