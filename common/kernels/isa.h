/* What this CPU has, and which instruction set is fast on it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_ISA_H
#define KERNELS_ISA_H

#include <stdbool.h>

/* From cpuid; all zero on other architectures. */
struct isa_cpu {
    bool intel;
    unsigned family, model; // as cpuid leaf 1 counts them, with their extended parts
    bool avx2, avxvnni, avx512, avx512vnni, avx512bf16;
    bool amx;                // tiles, with their bf16 and int8, and the system saves them
    const char *amx_refused; // NULL; or why they cannot be used all the same
};
/* Where the CPU has AMX, the first call asks the system for it: amx_refused() in amx.h. */
struct isa_cpu isa_cpu(void);

/* Whether vdpbf16ps is slower here than multiply-adds in f32, so that avx512 is the better choice
 * though the CPU has AVX512-BF16. */
bool isa_slow_bf16(const struct isa_cpu *c);

/* Whether the CPU's own prefetchers leave a part of memory's rate unused where a core reads four
 * streams, so that prefetch instructions help. */
bool isa_slow_streams(const struct isa_cpu *c);

/* Whether the conversion of bf16 and f16 to f32 takes time from multiply-adds. */
bool isa_slow_convert(const struct isa_cpu *c);

#endif
