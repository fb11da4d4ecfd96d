/* The intrinsics and function attributes of x86-64.
 *
 * KERNELS_EMULATED names a header with portable versions of the intrinsics. The kernels are then
 * compiled against it, so that a test can run every variant on any CPU.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_X86_H
#define KERNELS_X86_H

#include "kernels/every_isa.h"

/* Whether the kernels of x86-64 are compiled. Elsewhere their files are empty. */
#if defined(KERNELS_EMULATED)
#if __has_include(<simde/x86/avx512.h>)
#define KERNELS_X86 1
#else
#define KERNELS_X86 0
#endif
#elif defined(__x86_64__)
#define KERNELS_X86 1
#else
#define KERNELS_X86 0
#endif

/* Whether the compiler knows AMX: GCC 11 and clang 12 do. */
#if KERNELS_X86 && (defined(KERNELS_EMULATED) || __has_include(<amxbf16intrin.h>) ||               \
                    __has_include(<amxintrin.h>))
#define KERNELS_AMX 1
#else
#define KERNELS_AMX 0
#endif

#if defined(KERNELS_EMULATED) && KERNELS_X86
#include KERNELS_EMULATED
#define AVX2
#define AVX512
#define AVX512BF16
#define AVXVNNI
#define AVX512VNNI
#define AMX
#define STAYS(v) (void)0
#elif KERNELS_X86
#include <immintrin.h>
#define AVX2    __attribute__((target("avx2,fma,f16c")))
#define AVX512  __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")))
#define AVXVNNI __attribute__((target("avx2,fma,f16c,avxvnni")))
#define AVX512VNNI                                                                                 \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")))
#define AVX512BF16                                                                                 \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#define AMX                                                                                        \
    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,"           \
                          "amx-tile,amx-int8,amx-bf16")))
/* The vector v, just loaded, stays in a register. Without it GCC 12 loads it again for each use,
 * and spills sums to do so. */
#define STAYS(v) __asm__("" : "+v"(v))
#endif

/* Defines name(a, b, c, d): the sum (op: add) or the maximum (op: max) of the lanes of each of four
 * vectors. Within quarters (0 op 2) op (1 op 3), then (q0 op q2) op (q1 op q3) of the quarters. */
#define LANES4(name, target, op)                                                                   \
    target EVERY_ISA __m128 name(__m512 a, __m512 b, __m512 c, __m512 d) {                         \
        __m512 ab = _mm512_##op##_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));          \
        __m512 cd = _mm512_##op##_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));          \
        __m512d lo = _mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));               \
        __m512d hi = _mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd));               \
        __m512 q = _mm512_##op##_ps(_mm512_castpd_ps(lo), _mm512_castpd_ps(hi));                   \
        __m256 half = _mm256_##op##_ps(_mm512_castps512_ps256(q), _mm512_extractf32x8_ps(q, 1));   \
        return _mm_##op##_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));        \
    }

#endif
