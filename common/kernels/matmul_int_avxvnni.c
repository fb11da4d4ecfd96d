/* The integer layouts with AVX-VNNI: vpdpbusd for 8 lanes.
 *
 * 2 rows with a panel are 8 sums, low and high, beside 2 vectors of W and 2 of x.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include "kernels/vec_int_avx2.h"

#define TARGET AVXVNNI
enum { PLANES = 1, LANES = 8, ROWS = 2, PANELS = 1 };

typedef __m256i wvec;
typedef struct int_x {
    __m256i low, high;
} xvec;
struct parts {
    __m256i low, high;
};

TARGET EVERY_ISA wvec load_w(const unsigned char *p) {
    return iv_load(p);
}
TARGET EVERY_ISA xvec load_x(const unsigned char *p) {
    return (xvec){spread(p), spread(p + 4)};
}
TARGET EVERY_ISA struct parts sum_begin(const unsigned char *corrections) {
    if (!corrections)
        return (struct parts){iv_zero(), iv_zero()};
    return (struct parts){spread(corrections), spread(corrections + 4)};
}
TARGET EVERY_ISA void sum_add(struct parts *s, wvec w, xvec x) {
    s->low = _mm256_dpbusd_avx_epi32(s->low, w, x.low);
    s->high = _mm256_dpbusd_avx_epi32(s->high, w, x.high);
}
TARGET EVERY_ISA void sum_merge(struct parts *s, struct parts o) {
    s->low = _mm256_add_epi32(s->low, o.low);
    s->high = _mm256_add_epi32(s->high, o.high);
}
TARGET EVERY_ISA void add_block(ivec *low, ivec *high, const struct parts *s, ivec m) {
    *low = _mm256_add_epi32(*low, _mm256_mullo_epi32(s->low, m));
    *high = _mm256_add_epi32(*high, _mm256_mullo_epi32(s->high, m));
}

#include "kernels/matmul_int_tmpl.h"

#define INT_TILES(name, layout)                                                                    \
    TILE(tile_1_##name, 1, 1, layout);                                                             \
    TILE(tile_2_##name, 2, 1, layout);                                                             \
    static tile_fn *const tiles_##name[PANELS + 1][ROWS + 1] = {                                   \
        {NULL}, {NULL, tile_1_##name, tile_2_##name}}
INT_KERNELS

void matmul_int_avxvnni_fill(struct kernel_table *t) {
    matmul_register(t, int_kernels, N_INT_KERNELS);
}
#endif
