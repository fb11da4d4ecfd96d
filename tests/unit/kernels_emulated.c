/* common/kernels: the variants of x86-64 that this CPU may lack, compiled once more against
 * emulated intrinsics. The Makefile links those objects in place of the library's.
 *
 * Only kernels written with intrinsics differ between instruction sets; the rest is one C source
 * for all. So the table holds the C variants, with the kernels of each emulated set put over them.
 *
 * A sanitizer makes the emulation several times slower. There the sets that this CPU has are left
 * to kernels.c and kernels_int.c, which run the same sources with the CPU's own instructions.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // kernel_checks.h
#include "../lib/check.h"

#if defined(__has_include)
#if __has_include(<simde/x86/avx512.h>)
#define CAN_EMULATE
#endif
#endif

#if defined(CAN_EMULATE)
#define CHECKS_FEW 1
#include "../lib/kernel_checks.h"
#include "../lib/kernel_fp8_checks.h"
#include "../lib/kernel_group_checks.h"
#include "kernels/table.h"

/* Whether another test of this build covers the set's sources. */
static bool covered(const char *set) {
    for (const char *const *isa = kernels_isas(); CHECK_SLOW && *isa; isa++)
        if (strcmp(*isa, set) == 0)
            return true;
    return false;
}

int main(void) {
    static const struct {
        const char *name;
        kernel_fill *matmul, *attention;
    } sets[] = {{"avx2", matmul_avx2_fill, attention_avx2_fill},
                {"avx512", matmul_avx512_fill, attention_avx512_fill},
                {"avx512bf16", matmul_avx512bf16_fill, attention_avx512bf16_fill},
                {"amx", matmul_amx_fill, attention_amx_fill}};
    kernels_use("c");
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (covered(sets[i].name))
            continue;
        sets[i].matmul(&kernel);
        sets[i].attention(&kernel);
        kernel.isa = sets[i].name;
        kernel.widen_rows = i % 2 ? 9 : SIZE_MAX; // both ways, over the sets
        kernel.row_ahead = i % 2 ? 0 : MATMUL_ROW_AHEAD;
        printf("# emulated %s\n", kernels_isa());
        RUN(matmul_is_right);
        RUN(matmul_same_bits);
        RUN(products_together_are_each);
        RUN(fp8_is_right);
        RUN(attention_is_right);
    }
    static const struct {
        const char *name;
        kernel_fill *matmul;
    } int_sets[] = {{"avx2", matmul_int_avx2_fill},
                    {"avxvnni", matmul_int_avxvnni_fill},
                    {"avx512", matmul_int_avx512_fill},
                    {"amx", matmul_int_amx_fill}};
    for (size_t i = 0; i < sizeof int_sets / sizeof *int_sets; i++) {
        if (covered(int_sets[i].name))
            continue;
        int_sets[i].matmul(&kernel);
        for (size_t l = 0; l < MAT_LAYOUTS; l++)
            kernel.matmul_own[l].least_rows = 0; // few rows by tiles, too
        kernel.isa = int_sets[i].name;
        printf("# emulated %s, integers\n", kernels_isa());
        RUN(products_are_the_models);
        RUN(odd_values_of_x);
        RUN(same_bits_in_every_cut);
        RUN(gated_products);
        RUN(precise_is_f32);
        RUN(groups_are_the_models);
        RUN(largest_sums_of_groups);
        RUN(groups_same_bits_in_every_cut);
        RUN(products_of_many_orders);
        RUN(precise_groups_are_f32);
        RUN(widened_rows_are_the_reference);
    }
    CHECK(kernel.matmul_own[MAT_BF16].multiply);
    CHECK(kernel.matmul_own[MAT_F16].multiply && kernel.matmul_own[MAT_F8].multiply);
    return check_done();
}
#else
int main(void) {
    SKIP(emulated_kernels, "SIMDe (libsimde-dev) is not installed");
    return check_done();
}
#endif
