/* The intrinsics and function attributes of x86-64.
 *
 * KERNELS_EMULATED compiles the same sources against SIMDe's portable versions of the intrinsics, so that a test can run
 * every variant on any CPU.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_X86_H
#define KERNELS_X86_H

#if defined(KERNELS_EMULATED)
#include KERNELS_EMULATED
#define AVX2
#define AVX512
#define AVX512BF16
#else
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")))
#define AVX512BF16 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))
#endif

#endif
