/* Attention's sums with AMX's tiles (attention_amx_tmpl.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_AMX
#define TARGET AMX
#include "kernels/attention_amx_tmpl.h"

void attention_amx_fill(struct kernel_table *t) {
    t->attn.sum_bf16 = weighted_sum_bf16;
    t->attn.round = round_bf16;
}
#endif
