/* The integer layouts with AVX512-VNNI: vpdpbusd adds four products of a byte of W and a byte of x
 * to each of 16 lanes, vpdpwssd two of int16.
 *
 * 4 rows of x with 2 panels are 8 sums, beside 16 vectors of totals, 2 of W and one of x. 3 of few
 * rows are 12 sums, low and high, beside 12 vectors of totals, 2 of W and 2 of x.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include <string.h>

#include "kernels/matmul_int.h"

#define TARGET AVX512VNNI
enum { PLANES = 1, LANES = 16, PANELS = 2, FEW = 3, MANY = 4, FEW_HALVES = 5, FEW_BYTES = 12 };

typedef __m512i ivec;
typedef __m512 fvec;

TARGET EVERY_ISA ivec iv_load(const void *p) {
    return _mm512_loadu_si512(p);
}
TARGET EVERY_ISA ivec iv_set(int32_t i) {
    return _mm512_set1_epi32(i);
}
TARGET EVERY_ISA ivec spread(const unsigned char *p) {
    int32_t i;
    memcpy(&i, p, sizeof i);
    return _mm512_set1_epi32(i);
}
TARGET EVERY_ISA ivec iv_add(ivec a, ivec b) {
    return _mm512_add_epi32(a, b);
}
TARGET EVERY_ISA ivec iv_sub(ivec a, ivec b) {
    return _mm512_sub_epi32(a, b);
}
TARGET EVERY_ISA ivec iv_mul(ivec a, ivec b) {
    return _mm512_mullo_epi32(a, b);
}
TARGET EVERY_ISA ivec iv_sub8(ivec a, ivec b) {
    return _mm512_sub_epi8(a, b);
}
TARGET EVERY_ISA ivec iv_shl(ivec v, unsigned n) {
    return _mm512_slli_epi32(v, n);
}
TARGET EVERY_ISA ivec iv_sra16(ivec v) {
    return _mm512_srai_epi32(v, 16);
}
TARGET EVERY_ISA ivec iv_low16(ivec v) {
    return _mm512_and_si512(v, _mm512_set1_epi32(0xFFFF));
}
TARGET EVERY_ISA ivec iv_dot(ivec sum, ivec w, ivec x) {
    return _mm512_dpbusd_epi32(sum, w, x);
}
TARGET EVERY_ISA ivec iv_dot16(ivec sum, ivec a, ivec b) {
    return _mm512_dpwssd_epi32(sum, a, b);
}
TARGET EVERY_ISA fvec fv_of(ivec v) {
    return _mm512_cvtepi32_ps(v);
}
TARGET EVERY_ISA fvec fv_set(float f) {
    return _mm512_set1_ps(f);
}
TARGET EVERY_ISA fvec fv_load(const float *p) {
    return _mm512_loadu_ps(p);
}
TARGET EVERY_ISA void fv_store(float *p, fvec v) {
    _mm512_storeu_ps(p, v);
}
TARGET EVERY_ISA fvec fv_add(fvec a, fvec b) {
    return _mm512_add_ps(a, b);
}
TARGET EVERY_ISA fvec fv_mul(fvec a, fvec b) {
    return _mm512_mul_ps(a, b);
}
TARGET EVERY_ISA fvec fv_fma(fvec a, fvec b, fvec c) {
    return _mm512_fmadd_ps(a, b, c);
}

TARGET EVERY_ISA void panel_f16(float *to, const void *from) {
    fv_store(to, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from)));
}

/* 16 bytes in each quarter. */
TARGET EVERY_ISA ivec quarters(const void *p) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p));
}
TARGET EVERY_ISA ivec iv_bytes(const unsigned char *p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}
TARGET EVERY_ISA ivec iv_choose(const unsigned char *four, ivec index) {
    return _mm512_castps_si512(_mm512_permutevar_ps(_mm512_castsi512_ps(quarters(four)), index));
}
/* Rotated, a descriptor has c / 4 at the lower end and m at the upper. */
TARGET EVERY_ISA void i4_fields(const unsigned char *descriptors, ivec *m, ivec *shift) {
    *shift = _mm512_ror_epi32(iv_bytes(descriptors), 6);
    *m = _mm512_srai_epi32(*shift, 26);
}
TARGET EVERY_ISA ivec iv_table(const int8_t *table, int add) {
    return _mm512_add_epi8(quarters(table), _mm512_set1_epi8((char)add));
}
TARGET EVERY_ISA ivec look_up(ivec codes, ivec table, size_t high) {
    const __m512i index = high ? _mm512_srli_epi16(codes, 4) : codes;
    return _mm512_shuffle_epi8(table, _mm512_and_si512(index, _mm512_set1_epi8(15)));
}

/* A byte in the upper half of an int16 times 256 * factor: the upper half of that is the product.
 */
TARGET EVERY_ISA void store_pairs(unsigned char *to, ivec bytes, ivec factors) {
    const __m512i even = _mm512_slli_epi16(bytes, 8),
                  odd = _mm512_and_si512(bytes, _mm512_set1_epi16((short)0xFF00));
    _mm512_storeu_si512(to, _mm512_mulhi_epi16(even, factors));
    _mm512_storeu_si512(to + 64, _mm512_mulhi_epi16(odd, factors));
}
TARGET EVERY_ISA void store_wide(unsigned char *to, ivec bytes, ivec zeros) {
    const __m512i even = _mm512_and_si512(bytes, _mm512_set1_epi16(255)),
                  odd = _mm512_srli_epi16(bytes, 8);
    _mm512_storeu_si512(to, _mm512_sub_epi16(even, zeros));
    _mm512_storeu_si512(to + 64, _mm512_sub_epi16(odd, zeros));
}

#define TILES(kind, fns, name, layout)                                                             \
    TILES_OF(kind, 1, name, layout);                                                               \
    TILES_OF(kind, 2, name, layout);                                                               \
    static const struct fns tiles_##name[PANELS + 1] = {                                           \
        {{NULL}, {NULL}}, TILES_LIST(1, name), TILES_LIST(2, name)}
#include "kernels/vec_int_vnni_tmpl.h"

#include "kernels/matmul_int_tmpl.h"
#include "kernels/matmul_group_tmpl.h"

void matmul_int_avx512_fill(struct kernel_table *t) {
    matmul_register(t, int_kernels, N_INT_KERNELS);
    matmul_register(t, group_kernels, N_GROUP_KERNELS);
}
#endif
