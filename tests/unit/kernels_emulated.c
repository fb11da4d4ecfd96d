/* common/kernels: the variants of tiles.c that this CPU may lack, compiled once more against
 * emulated intrinsics.
 *
 * Only what is written with intrinsics differs between instruction sets; the rest is one C source
 * for all. So the table holds the C variants, with each emulated set's tiles put over them.
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

#define KERNELS_EMULATED "../../tests/lib/emulate.h"
#include "../../common/kernels/tiles.c" // its tiles_fill takes the place of the library's

int main(void) {
    static const char *const names[] = {"avx2", "avx512", "avx512bf16"};
    kernels_use("c");
    for (int isa = ISA_AVX2; isa <= ISA_AVX512BF16; isa++) {
        tiles_fill(&kernel, (enum isa)isa);
        kernel.isa = (enum isa)isa;
        printf("# emulated %s\n", names[isa - ISA_AVX2]);
        CHECK_STR(kernels_isa(), names[isa - ISA_AVX2]);
        RUN(matmul_is_right);
        RUN(matmul_same_bits);
        RUN(matmul_many_is_each);
        RUN(attention_is_right);
    }
    CHECK(kernel.matmul_rounded);
    return check_done();
}
#else
int main(void) {
    SKIP(emulated_kernels, "SIMDe (libsimde-dev) is not installed");
    return check_done();
}
#endif
