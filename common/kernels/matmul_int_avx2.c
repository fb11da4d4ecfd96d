/* The integer layouts with AVX2: vpmaddwd adds two products of 16 bits to each of 8 lanes.
 *
 * vpmaddubsw takes bytes, but saturates: 255 * 127 * 2 is more than 16 bits hold. So the bytes of W
 * are split into even and odd ones of 16 bits, and x comes as pairs. 2 rows with a panel are 4
 * sums, beside 4 vectors of W, 2 of x and a product.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include "kernels/matmul_int.h"
#include "kernels/vec_int_avx2.h"

#define TARGET AVX2
enum { PLANES = 0, LANES = 8, ROWS = 2, PANELS = 1 };

typedef struct int_x {
    __m256i even, odd;
} wvec, xvec;
struct parts {
    __m256i all;
};

TARGET EVERY_ISA wvec load_w(const unsigned char *p) {
    const __m256i v = iv_load(p);
    return (wvec){_mm256_and_si256(v, _mm256_set1_epi16(255)), _mm256_srli_epi16(v, 8)};
}
TARGET EVERY_ISA xvec load_x(const unsigned char *p) {
    return (xvec){spread(p), spread(p + 4)};
}
TARGET EVERY_ISA struct parts sum_begin(const unsigned char *corrections) {
    return (struct parts){corrections ? spread(corrections) : iv_zero()};
}
TARGET EVERY_ISA struct parts sum_zeros(const int32_t *x, ivec zeros) {
    return (struct parts){iv_mul(spread((const unsigned char *)x), zeros)};
}
TARGET EVERY_ISA void sum_add(struct parts *s, wvec w, xvec x) {
    s->all = _mm256_add_epi32(s->all, _mm256_madd_epi16(w.even, x.even));
    s->all = _mm256_add_epi32(s->all, _mm256_madd_epi16(w.odd, x.odd));
}
TARGET EVERY_ISA void sum_merge(struct parts *s, struct parts o) {
    s->all = _mm256_add_epi32(s->all, o.all);
}
/* A sum of 32 products has up to 27 bits. It is cut in two, so that times m and added up either
 * part fits 32. */
TARGET EVERY_ISA void add_block(ivec *low, ivec *high, const struct parts *s, ivec m) {
    const __m256i lower = _mm256_and_si256(s->all, _mm256_set1_epi32(127)),
                  upper = _mm256_srai_epi32(s->all, 7);
    *low = _mm256_add_epi32(*low, _mm256_mullo_epi32(lower, m));
    *high = _mm256_add_epi32(*high, _mm256_mullo_epi32(upper, m));
}

TARGET EVERY_ISA fvec sum_value(const struct parts *s) {
    return fv_of(s->all);
}

#include "kernels/matmul_int_tmpl.h"
#include "kernels/matmul_group_tmpl.h"

void matmul_int_avx2_fill(struct kernel_table *t) {
    matmul_register(t, int_kernels, N_INT_KERNELS);
    matmul_register(t, group_kernels, N_GROUP_KERNELS);
}
#endif
