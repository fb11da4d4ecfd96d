/* The integer layouts with AVX2: vpmaddwd adds two products of 16 bits to each of 8 lanes.
 *
 * vpmaddubsw takes bytes, but saturates: 255 * 127 * 2 is more than 16 bits hold. So for a single
 * row the bytes of W are split into even and odd ones of 16 bits, and x comes as pairs. 4 rows
 * of many are 8 sums, beside 2 vectors of W, one of x and a product; their totals are in memory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include "kernels/matmul_int.h"
#include "kernels/vec_int_avx2.h"

#define TARGET AVX2
enum { PLANES = 0, LANES = 8, PANELS = 1, FEW = 2, MANY = 4, FEW_HALVES = 4, FEW_BYTES = 8 };

typedef struct int_x {
    __m256i even, odd;
} wvec, xvec;
struct parts {
    __m256i all;
};

TARGET EVERY_ISA ivec iv_dot16(ivec sum, ivec a, ivec b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
}
TARGET EVERY_ISA wvec w_of(ivec bytes) {
    return (wvec){_mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srli_epi16(bytes, 8)};
}
TARGET EVERY_ISA xvec load_x(const unsigned char *p) {
    return (xvec){spread(p), spread(p + 4)};
}
TARGET EVERY_ISA struct parts sum_begin(ivec first) {
    return (struct parts){first};
}
TARGET EVERY_ISA void sum_add(struct parts *s, wvec w, xvec x) {
    s->all = iv_dot16(iv_dot16(s->all, w.even, x.even), w.odd, x.odd);
}
TARGET EVERY_ISA ivec sum_of(const struct parts *s) {
    return s->all;
}

#include "kernels/matmul_int_tmpl.h"
#include "kernels/matmul_group_tmpl.h"

void matmul_int_avx2_fill(struct kernel_table *t) {
    matmul_register(t, int_kernels, N_INT_KERNELS);
    matmul_register(t, group_kernels, N_GROUP_KERNELS);
}
#endif
