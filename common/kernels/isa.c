/* What this CPU has, and which instruction set is fast on it. See isa.h.
 *
 * The rules use cpuid alone, not a timed probe: the bits of results depend on the instruction set,
 * so one machine must always choose the same one. Besides the CPU's flags the operating system must
 * save the wide registers (XCR0); __builtin_cpu_supports checks that too.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/isa.h"

#include <stddef.h>

#include "kernels/amx.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__x86_64__)
enum { AVXVNNI_BIT = 1 << 4 }; // leaf 7, subleaf 1, eax: not every compiler knows its name
/* Whether cpuid has AMX-TILE, AMX-BF16 and AMX-INT8, and the system saves tiles: XCR0 has their two
 * parts. Only for CPUs with AVX-512, where the system lets programs read XCR0. */
static bool has_amx(void) {
    enum { BF16 = 1 << 22, TILE = 1 << 24, INT8 = 1 << 25, XCR0_TILES = 3 << 17 };
    unsigned a, b, c, d, low, high, all = BF16 | TILE | INT8;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & all) != all)
        return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & XCR0_TILES) == XCR0_TILES;
}

struct isa_cpu isa_cpu(void) {
    unsigned a = 0, b = 0, c = 0, d = 0, max, b0 = 0, c0 = 0, d0 = 0;
    struct isa_cpu cpu = {0};
    __get_cpuid(0, &max, &b0, &c0, &d0);
    __get_cpuid(1, &a, &b, &c, &d);
    cpu.intel = b0 == signature_INTEL_ebx && c0 == signature_INTEL_ecx && d0 == signature_INTEL_edx;
    cpu.family = a >> 8 & 0xF;
    cpu.model = a >> 4 & 0xF;
    if (cpu.family == 6 || cpu.family == 15)
        cpu.model += (a >> 16 & 0xF) << 4;
    if (cpu.family == 15)
        cpu.family += a >> 20 & 0xFF;
    // F16C from cpuid itself: not every compiler's __builtin_cpu_supports knows it.
    cpu.avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && (c & bit_F16C) != 0;
    unsigned a7 = 0, b7, c7, d7;
    cpu.avxvnni =
        cpu.avx2 && __get_cpuid_count(7, 1, &a7, &b7, &c7, &d7) && (a7 & AVXVNNI_BIT) != 0;
    cpu.avx512 = cpu.avx2 && __builtin_cpu_supports("avx512f") &&
                 __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512dq");
    cpu.avx512vnni = cpu.avx512 && __builtin_cpu_supports("avx512vnni");
    cpu.avx512bf16 = cpu.avx512 && __builtin_cpu_supports("avx512bf16");
    cpu.amx = cpu.avx512bf16 && has_amx();
    cpu.amx_refused = cpu.amx ? amx_refused() : NULL;
    return cpu;
}
#else
struct isa_cpu isa_cpu(void) {
    return (struct isa_cpu){0};
}
#endif

/* Intel's Golden Cove and Redwood Cove servers: one vdpbf16ps in two cycles, half the rate of f32
 * multiply-adds. Measured on Emerald and Granite Rapids: 85 of 177 GFLOP/s a core. On AMD's Zen 4
 * and 5 it has the rate of f32 multiply-adds or twice that. */
bool isa_slow_bf16(const struct isa_cpu *c) {
    static const unsigned models[] = {
        0x8F, // Sapphire Rapids
        0xAD, // Granite Rapids
        0xAE, // Granite Rapids D
        0xCF, // Emerald Rapids
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (c->intel && c->family == 6 && c->model == models[i])
            return true;
    return false;
}

/* Emerald Rapids: one row of x reads 87 % of what memory delivers, and 97 % with prefetches. Zen 4
 * and 5 read 98 % without. */
bool isa_slow_streams(const struct isa_cpu *c) {
    return c->intel;
}

/* On Intel the conversions use the ports of the multiply-adds: a fifth of a GEMM's time on Emerald
 * Rapids. AMD has other ports for them. */
bool isa_slow_convert(const struct isa_cpu *c) {
    return c->intel;
}
