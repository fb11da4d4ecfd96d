/* Which kernels run: the table, filled from the scalar up by what the CPU has, capped by LLM_ISA.
 *
 * Besides the CPU's flags the operating system must keep the wide registers (XCR0), which the
 * compilers'
 * __builtin_cpu_supports also looks at. A name in LLM_ISA that is unknown, or that this CPU lacks,
 * is refused rather than replaced: whoever sets it wants to know what was measured.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/table.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

struct kernel_table kernel;

static const char *const isa_names[ISA_COUNT] = {"baseline", "c", "avx2", "avx512", "avx512bf16"};

#if defined(__x86_64__)
static bool cpu_has_f16c(void) { // not every compiler's __builtin_cpu_supports knows it
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;
}
#endif

static bool cpu_has(enum isa isa) {
    switch (isa) {
    case ISA_BASELINE:
    case ISA_C:
        return true;
#if defined(__x86_64__)
    case ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
    case ISA_AVX512:
        return cpu_has(ISA_AVX2) && __builtin_cpu_supports("avx512f") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq");
    case ISA_AVX512BF16:
        return cpu_has(ISA_AVX512) && __builtin_cpu_supports("avx512bf16");
#endif
    default:
        return false;
    }
}

static void fill(enum isa most) {
    struct kernel_table t = {0};
    for (int i = 0; i <= (int)most; i++) {
        tiles_c_fill(&t, (enum isa)i);
        tiles_fill(&t, (enum isa)i);
        softmax_fill(&t, (enum isa)i);
        softmax_bf16_fill(&t, (enum isa)i);
        row_ops_fill(&t, (enum isa)i);
    }
    t.isa = most;
    kernel = t;
}

static enum isa best(void) {
    int i = ISA_COUNT - 1;
    while (!cpu_has((enum isa)i))
        i--;
    return (enum isa)i;
}

/* The instruction set of this name, ISA_COUNT where there is none. */
static enum isa named(const char *name) {
    int i = 0;
    while (i < ISA_COUNT && strcmp(name, isa_names[i]) != 0)
        i++;
    return (enum isa)i;
}

int kernels_init(struct err *e) {
    const char *want = getenv("LLM_ISA");
    enum isa isa = want && *want ? named(want) : best();
    if (isa == ISA_COUNT)
        return err_set(e, EXIT_USAGE,
                       "LLM_ISA is '%s', not one of baseline, c, avx2, avx512, avx512bf16", want);
    if (!cpu_has(isa))
        return err_set(e, EXIT_USAGE, "LLM_ISA is '%s', which this CPU lacks (it has %s)", want,
                       isa_names[best()]);
    fill(isa);
    return 0;
}

const char *kernels_isa(void) {
    return isa_names[kernel.isa];
}

const char *const *kernels_isas(void) {
    static const char *has[ISA_COUNT + 1];
    size_t n = 0;
    for (int i = 0; i < ISA_COUNT; i++)
        if (cpu_has((enum isa)i))
            has[n++] = isa_names[i];
    has[n] = NULL;
    return has;
}

void kernels_use(const char *isa) {
    fill(named(isa));
}
