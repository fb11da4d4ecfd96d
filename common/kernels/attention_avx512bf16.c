/* Attention's sums with AVX512-BF16: queries and probabilities are bf16 too, and one vdpbf16ps
 * takes two rows of keys or values. The softmax is in softmax_avx512bf16.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include <string.h>

#include "kernels/prefetch.h"
#include "kernels/vec_avx512.h"

#define TARGET AVX512BF16
enum { STEP = VEC_LANES, COLS = 4, A_BYTES = sizeof(uint16_t) };

AVX512BF16 EVERY_ISA vec spread_pair(const unsigned char *p) {
    int pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
}
AVX512BF16 EVERY_ISA vec lower_only(vec v) { // of pairs; the other is zero
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0xFFFF)));
}

/* A row that is not in `which` counts as zero. b is pairs always. */
AVX512BF16 EVERY_ISA void sum_step(const size_t R, const size_t C, const bool pairs,
                                   const int which, const size_t last, vec s[6][4],
                                   const struct sum_rows in) {
    vec b[4];
    (void)pairs;
    for (size_t v = 0; v < C; v++)
        b[v] =
            vec_load((const float *)(const void *)(in.b + v * STEP * 4), v + 1 < C ? STEP : last);
    for (size_t v = 0; v < C && which != (LOWER | UPPER); v++)
        b[v] = which == LOWER ? lower_only(b[v]) : vec_upper(b[v]);
    for (size_t r = 0; r < R; r++) {
        vec av = spread_pair(in.a + r * in.lda * A_BYTES);
        for (size_t v = 0; v < C; v++)
            s[r][v] = _mm512_dpbf16_ps(s[r][v], (__m512bh)av, (__m512bh)b[v]);
    }
}

#include "kernels/attention_tmpl.h"

AVX512BF16 static void weighted_sum_bf16(const struct attn_weighted_sum *w) {
    weighted_sum(true, w);
}

AVX512BF16 static void round_bf16(uint16_t *to, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        to[i] = bf16_from_f32(x[i]);
}

void attention_avx512bf16_fill(struct kernel_table *t) {
    t->attn.sum_bf16 = weighted_sum_bf16;
    t->attn.round = round_bf16;
}
#endif
