/* The wide instructions on any CPU: SIMDe's portable versions, under the names of the intrinsics,
 * and those that SIMDe lacks, by Intel's description of them. Included in place of immintrin.h
 * (common/kernels/x86.h).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_EMULATE_H
#define TESTS_EMULATE_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#define SIMDE_NO_INLINE // else the tiles take minutes to compile
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef simde__mmask8 __mmask8; // the same type again where SIMDe has the name
typedef simde__mmask16 __mmask16;
typedef simde__mmask32 __mmask32;

/* The number of ones of a mask. Elements after them are not touched, as the instruction promises.
 */
static inline size_t emulated_ones(uint64_t mask) {
    size_t n = 0;
    while (mask >> n & 1)
        n++;
    if (mask >> n)
        abort(); // no kernel uses masks with gaps
    return n;
}

/* SIMDe 0.7.4 reads past the mask here, where the instruction does not fault. */
#undef _mm256_maskload_ps
static inline __m256 _mm256_maskload_ps(const float *p, __m256i mask) {
    int32_t m[8];
    float f[8] = {0};
    memcpy(m, &mask, sizeof m);
    for (size_t i = 0; i < 8; i++)
        if (m[i] < 0)
            memcpy(&f[i], (const unsigned char *)(const void *)p + i * sizeof *f,
                   sizeof *f); // at any alignment
    return _mm256_loadu_ps(f);
}

#if !defined(_mm512_maskz_loadu_ps)
static inline __m512 _mm512_maskz_loadu_ps(__mmask16 k, const void *p) {
    float f[16] = {0};
    memcpy(f, p, emulated_ones(k) * sizeof *f);
    return _mm512_loadu_ps(f);
}
#endif
#if !defined(_mm512_cvtepi32_epi16)
static inline __m256i _mm512_cvtepi32_epi16(__m512i v) {
    int32_t from[16];
    int16_t to[16];
    memcpy(from, &v, sizeof from);
    for (size_t i = 0; i < 16; i++)
        to[i] = (int16_t)(from[i] & 0xFFFF);
    return _mm256_loadu_si256((const __m256i *)(const void *)to);
}
#endif
#if !defined(_mm512_maskz_loadu_epi16)
static inline __m512i _mm512_maskz_loadu_epi16(__mmask32 k, const void *p) {
    uint16_t h[32] = {0};
    memcpy(h, p, emulated_ones(k) * sizeof *h);
    return _mm512_loadu_si512(h);
}
#endif
#if !defined(_mm256_maskz_loadu_epi16)
static inline __m256i _mm256_maskz_loadu_epi16(__mmask16 k, const void *p) {
    uint16_t h[16] = {0};
    memcpy(h, p, emulated_ones(k) * sizeof *h);
    return _mm256_loadu_si256((const __m256i *)(const void *)h);
}
#endif
#if !defined(_mm512_mask_storeu_ps)
static inline void _mm512_mask_storeu_ps(void *p, __mmask16 k, __m512 v) {
    float f[16];
    _mm512_storeu_ps(f, v);
    memcpy(p, f, emulated_ones(k) * sizeof *f);
}
#endif
#if !defined(_mm_mask_storeu_ps)
static inline void _mm_mask_storeu_ps(void *p, __mmask8 k, __m128 v) {
    float f[4];
    _mm_storeu_ps(f, v);
    memcpy(p, f, emulated_ones(k) * sizeof *f);
}
#endif
#if !defined(_mm512_cvtepu16_epi32)
static inline __m512i _mm512_cvtepu16_epi32(__m256i v) {
    uint16_t h[16];
    uint32_t u[16];
    memcpy(h, &v, sizeof h);
    for (size_t i = 0; i < 16; i++)
        u[i] = h[i];
    return _mm512_loadu_si512(u);
}
#endif
/* 16 bytes, which fit an int8 or a byte without a sign, as int32. */
static inline __m512i emulated_bytes(__m128i v, int is_signed) {
    int8_t b[16];
    int32_t i[16];
    memcpy(b, &v, sizeof b);
    for (size_t l = 0; l < 16; l++)
        i[l] = is_signed ? b[l] : (uint8_t)b[l];
    return _mm512_loadu_si512(i);
}
#if !defined(_mm512_cvtepu8_epi32)
static inline __m512i _mm512_cvtepu8_epi32(__m128i v) {
    return emulated_bytes(v, 0);
}
#endif
#if !defined(_mm512_cvtepi8_epi32)
static inline __m512i _mm512_cvtepi8_epi32(__m128i v) {
    return emulated_bytes(v, 1);
}
#endif
#if !defined(_mm512_srai_epi32)
static inline __m512i _mm512_srai_epi32(__m512i v, unsigned n) {
    int32_t i[16];
    memcpy(i, &v, sizeof i);
    for (size_t l = 0; l < 16; l++)
        i[l] >>= n;
    return _mm512_loadu_si512(i);
}
#endif
#if !defined(_mm512_cvtph_ps)
static inline __m512 _mm512_cvtph_ps(__m256i v) {
    __m128i half[2];
    float f[16];
    memcpy(half, &v, sizeof half);
    _mm256_storeu_ps(f, _mm256_cvtph_ps(half[0]));
    _mm256_storeu_ps(f + 8, _mm256_cvtph_ps(half[1]));
    return _mm512_loadu_ps(f);
}
#endif
#if !defined(_mm512_extractf32x8_ps)
static inline __m256 _mm512_extractf32x8_ps(__m512 v, int which) {
    float f[16];
    _mm512_storeu_ps(f, v);
    return _mm256_loadu_ps(f + 8 * which);
}
#endif

#if !defined(_mm256_dpbusd_avx_epi32)
static inline __m256i _mm256_dpbusd_avx_epi32(__m256i sums, __m256i u, __m256i s) {
    int32_t sum[8];
    uint8_t a[32];
    int8_t b[32];
    memcpy(sum, &sums, sizeof sum);
    memcpy(a, &u, sizeof a);
    memcpy(b, &s, sizeof b);
    for (size_t i = 0; i < 32; i++)
        sum[i / 4] += a[i] * b[i];
    return _mm256_loadu_si256((const __m256i *)(const void *)sum);
}
#endif
#if !defined(_mm512_cvtepi32_ps)
static inline __m512 _mm512_cvtepi32_ps(__m512i v) {
    int32_t i[16];
    float f[16];
    _mm512_storeu_si512(i, v);
    for (int l = 0; l < 16; l++)
        f[l] = (float)i[l];
    return _mm512_loadu_ps(f);
}
#endif
#if !defined(_mm512_cvtepi32_pd)
static inline __m512d _mm512_cvtepi32_pd(__m256i v) {
    int32_t i[8];
    double d[8];
    memcpy(i, &v, sizeof i);
    for (size_t l = 0; l < 8; l++)
        d[l] = i[l];
    return _mm512_loadu_pd(d);
}
#endif
#if !defined(_mm512_cvtpd_ps)
static inline __m256 _mm512_cvtpd_ps(__m512d v) {
    double d[8];
    float f[8];
    memcpy(d, &v, sizeof d);
    for (size_t l = 0; l < 8; l++)
        f[l] = (float)d[l];
    return _mm256_loadu_ps(f);
}
#endif

#if !defined(_mm256_dpwssd_avx_epi32)
static inline __m256i _mm256_dpwssd_avx_epi32(__m256i sums, __m256i x, __m256i y) {
    int32_t sum[8];
    int16_t a[16], b[16];
    memcpy(sum, &sums, sizeof sum);
    memcpy(a, &x, sizeof a);
    memcpy(b, &y, sizeof b);
    for (size_t i = 0; i < 16; i++)
        sum[i / 2] += a[i] * b[i];
    return _mm256_loadu_si256((const __m256i *)(const void *)sum);
}
#endif
#if !defined(_mm512_permutevar_ps)
static inline __m512 _mm512_permutevar_ps(__m512 v, __m512i index) {
    float f[16], to[16];
    int32_t i[16];
    _mm512_storeu_ps(f, v);
    _mm512_storeu_si512(i, index);
    for (size_t l = 0; l < 16; l++)
        to[l] = f[l / 4 * 4 + (i[l] & 3)];
    return _mm512_loadu_ps(to);
}
#endif

#endif
