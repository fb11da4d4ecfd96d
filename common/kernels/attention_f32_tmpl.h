/* The weighted sums of an instruction set that multiplies in f32: of rows in f32, and of pairs of
 * rows in bf16. The including file defines what attention_tmpl.h needs of vectors, and besides
 *
 *   multiply_add(acc, x, w)
 *   vec_lower(v), vec_upper(v)   of lanes that hold two bf16 each: one of them as f32
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/attn_kernel.h"
#include "kernels/prefetch.h"
#include "kernels/table.h"

enum { A_BYTES = sizeof(float) };

/* The rows of b in `which`; f32 has LOWER alone. */
TARGET EVERY_ISA void sum_step(const size_t R, const size_t C, const bool pairs, const int which,
                               const size_t last, vec s[6][4], const struct sum_rows in) {
    const float *a = (const float *)(const void *)in.a;
    vec b[4];
    for (size_t v = 0; v < C; v++)
        b[v] =
            vec_load((const float *)(const void *)(in.b + v * STEP * 4), v + 1 < C ? STEP : last);
    for (int row = LOWER; row <= UPPER; row++) {
        if (!(which & row))
            continue;
        for (size_t r = 0; r < R; r++) {
            vec av = vec_spread(a[r * in.lda + (row == UPPER)]);
            for (size_t v = 0; v < C; v++)
                s[r][v] = multiply_add(s[r][v], av,
                                       !pairs         ? b[v]
                                       : row == LOWER ? vec_lower(b[v])
                                                      : vec_upper(b[v]));
        }
    }
}

#include "kernels/attention_tmpl.h"

TARGET static void weighted_sum_f32(const struct attn_weighted_sum *w) {
    weighted_sum(false, w);
}
TARGET static void weighted_sum_pairs(const struct attn_weighted_sum *w) {
    weighted_sum(true, w);
}

static void fill_f32(struct kernel_table *t) {
    t->attn.sum_f32 = weighted_sum_f32;
    t->attn.sum_pairs = weighted_sum_pairs;
}
