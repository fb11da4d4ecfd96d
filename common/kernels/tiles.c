/* What matmul_tile.h and mix_tile.h need of each instruction set of x86-64, and why the tiles have
 * their sizes.
 *
 * A multiply-add needs ROWS + OUTS loads for ROWS * OUTS of itself, and as many sums in flight as
 * its latency times its rate (4 cycles, 2 a cycle: 8). The tile is as large as the registers hold.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/tile.h"

#if defined(__x86_64__) || defined(KERNELS_EMULATED)
#include "kernels/x86.h"

/* AVX2: 8 lanes and FMA. 4 x 3 sums, 3 of w and 1 of x are the 16 registers; 7 loads for 12
 * multiply-adds. */
AVX2 EVERY_ISA __m256i first_lanes_avx2(size_t n) { // all ones in the lanes below n
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
AVX2 EVERY_ISA __m256 load_x_avx2(const float *p, size_t n) {
    return n == 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, first_lanes_avx2(n));
}
AVX2 EVERY_ISA void store_x_avx2(float *p, __m256 v, size_t n) {
    if (n == 8)
        _mm256_storeu_ps(p, v);
    else
        _mm256_maskstore_ps(p, first_lanes_avx2(n), v);
}
AVX2 EVERY_ISA __m256 load_w_avx2(enum wtype type, const unsigned char *p, size_t n) {
    if (type == W_F32)
        return load_x_avx2((const float *)(const void *)p, n);
    __m128i h;
    if (n == 8) {
        h = _mm_loadu_si128((const __m128i *)(const void *)p);
    } else {
        uint16_t tail[8] = {0};
        memcpy(tail, p, n * 2);
        h = _mm_loadu_si128((const __m128i *)(const void *)tail);
    }
    if (type == W_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}
/* ((0+1) + (2+3)) + ((4+5) + (6+7)) of each of four vectors. */
AVX2 EVERY_ISA __m128 sum4_avx2(__m256 a, __m256 b, __m256 c, __m256 d) {
    __m256 q = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    return _mm_add_ps(_mm256_castps256_ps128(q), _mm256_extractf128_ps(q, 1));
}
AVX2 EVERY_ISA void sums_avx2(float *y, const __m256 *v, size_t n) {
    UNROLLED for (size_t i = 0; i < n; i += 4) {
        size_t left = n - i;
        __m128 s = sum4_avx2(v[i], v[left > 1 ? i + 1 : i], v[left > 2 ? i + 2 : i],
                             v[left > 3 ? i + 3 : i]);
        _mm_storeu_ps(y + i, s);
    }
}
#define ISA      avx2
#define TARGET   AVX2
#define vec      __m256
#define STEP     8
#define x_type   float
#define zero()   _mm256_setzero_ps()
#define sums     sums_avx2
#define load_x   load_x_avx2
#define store_x  store_x_avx2
#define load_w   load_w_avx2
#define spread   _mm256_set1_ps
#define lower(v) _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(v), 16))
#define upper(v)                                                                                   \
    _mm256_castsi256_ps(                                                                           \
        _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32((int)0xFFFF0000)))
#define multiply                _mm256_mul_ps
#define multiply_add(acc, x, w) _mm256_fmadd_ps(x, w, acc)
#define ROWS                    4
#define OUTS                    3
#define OUTS_1                  4
#define MIX_COLS                2
#include "kernels/matmul_tile.h"
#include "kernels/attend_tile_tmpl.h"
#include "kernels/tile_end.h"

/* AVX-512: 16 lanes, masked loads, 32 registers: 4 x 6 sums, 6 of w and 1 of x; 10 loads for 24
 * multiply-adds. */
AVX512 EVERY_ISA __mmask16 first_lanes_avx512(size_t n) {
    return (__mmask16)((1u << n) - 1);
}
AVX512 EVERY_ISA __m512 load_x_avx512(const float *p, size_t n) {
    return n == 16 ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(first_lanes_avx512(n), p);
}
AVX512 EVERY_ISA void store_x_avx512(float *p, __m512 v, size_t n) {
    if (n == 16)
        _mm512_storeu_ps(p, v);
    else
        _mm512_mask_storeu_ps(p, first_lanes_avx512(n), v);
}
AVX512 EVERY_ISA __m512 load_w_avx512(enum wtype type, const unsigned char *p, size_t n) {
    if (type == W_F32)
        return load_x_avx512((const float *)(const void *)p, n);
    __m256i h = n == 16 ? _mm256_loadu_si256((const __m256i *)(const void *)p)
                        : _mm256_maskz_loadu_epi16(first_lanes_avx512(n), p);
    if (type == W_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
LANES4(sum4_avx512, AVX512, add)
AVX512 EVERY_ISA void sums_avx512(float *y, const __m512 *v, size_t n) {
    UNROLLED for (size_t i = 0; i < n; i += 4) {
        size_t left = n - i;
        __m128 s = sum4_avx512(v[i], v[left > 1 ? i + 1 : i], v[left > 2 ? i + 2 : i],
                               v[left > 3 ? i + 3 : i]);
        _mm_storeu_ps(y + i, s);
    }
}
AVX512 EVERY_ISA __m512 upper_avx512(__m512 v) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32((int)0xFFFF0000)));
}
#define ISA                     avx512
#define TARGET                  AVX512
#define vec                     __m512
#define STEP                    16
#define x_type                  float
#define zero()                  _mm512_setzero_ps()
#define sums                    sums_avx512
#define load_x                  load_x_avx512
#define store_x                 store_x_avx512
#define load_w                  load_w_avx512
#define spread                  _mm512_set1_ps
#define lower(v)                _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(v), 16))
#define upper                   upper_avx512
#define multiply                _mm512_mul_ps
#define multiply_add(acc, x, w) _mm512_fmadd_ps(x, w, acc)
#define ROWS                    4
#define OUTS                    6
#define OUTS_1                  4
#define MIX_COLS                4
#include "kernels/matmul_tile.h"
#include "kernels/attend_tile_tmpl.h"
#include "kernels/tile_end.h"

/* AVX512-BF16: vdpbf16ps adds two products of bf16 pairs to each of 16 lanes, with x rounded to
 * bf16. One or two a cycle, 5 or 6 cycles latency: 6 x 4 sums, or 8 x 3 where rows are few, which
 * goes through W less often (table.h). A single row of W beside one of x is 64 bytes in the latency
 * of an instruction, more than memory has, and one stream is what memory reads best. */
AVX512BF16 EVERY_ISA __m512 load_pairs(const void *p, size_t n) {
    __m512i v =
        n == 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16((__mmask32)((1ull << n) - 1), p);
    __m512 f = _mm512_castsi512_ps(v);
    STAYS(f);
    return f;
}
AVX512BF16 EVERY_ISA __m512 multiply_add_pairs(__m512 acc, __m512 x, __m512 w) {
    return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)w);
}
AVX512BF16 EVERY_ISA __m512 spread_pair(const unsigned char *p) {
    int pair;
    memcpy(&pair, p, sizeof pair);
    return _mm512_castsi512_ps(_mm512_set1_epi32(pair));
}
AVX512BF16 EVERY_ISA __m512 lower_only(__m512 v) { // of pairs
    return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0xFFFF)));
}
#define ISA                avx512bf16
#define TARGET             AVX512BF16
#define vec                __m512
#define STEP               SIDE
#define x_type             uint16_t
#define zero()             _mm512_setzero_ps()
#define sums               sums_avx512
#define load_x             load_pairs
#define load_w(type, p, n) load_pairs(p, n)
#define multiply_add       multiply_add_pairs
#define ROWS               STRIP_ROWS
#define OUTS               4
#define OUTS_1             1
#define TALL_OUTS          3
#define ONLY_BF16
#include "kernels/matmul_tile.h"
#undef STEP
#undef load_x
#define STEP     16 // lanes, of a pair each
#define load_x   load_x_avx512
#define store_x  store_x_avx512
#define spread   _mm512_set1_ps
#define upper    upper_avx512
#define multiply _mm512_mul_ps
#define MULTIPLY_PAIRS
#define MIX_COLS 4
#include "kernels/attend_tile_tmpl.h"
#include "kernels/tile_end.h"
#endif

void tiles_fill(struct kernel_table *t, enum isa isa) {
    switch (isa) {
#if defined(__x86_64__) || defined(KERNELS_EMULATED)
    case ISA_AVX2:
        matmul_fill_avx2(t->matmul);
        t->unpack[W_BF16] = t->unpack[W_F16] = NULL;
        t->mix_f32 = mix_f32_avx2;
        t->mix_pairs = mix_pairs_avx2;
        break;
    case ISA_AVX512:
        matmul_fill_avx512(t->matmul);
        t->mix_f32 = mix_f32_avx512;
        t->mix_pairs = mix_pairs_avx512;
        break;
    case ISA_AVX512BF16:
        matmul_fill_avx512bf16(&t->matmul_rounded);
        t->mix_rounded = mix_rounded_avx512bf16;
        break;
#endif
    default:
        break;
    }
}
