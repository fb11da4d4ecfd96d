/* The GPU kernels as read-only data: see image.h.
 *
 * The Makefile compiles the kernels into the file that CU_IMAGE names; the file is empty if there
 * is no nvcc. The assembler includes it here. Without CU_IMAGE there are no kernels: tools that
 * compile all files with other rules do not define it.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "backend/cuda/image.h"

#ifdef CU_IMAGE
__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        ".globl tokpipe_cu_image, tokpipe_cu_image_end\n"
        ".hidden tokpipe_cu_image, tokpipe_cu_image_end\n"
        "tokpipe_cu_image:\n"
        ".incbin \"" CU_IMAGE "\"\n"
        "tokpipe_cu_image_end:\n"
        ".byte 0\n"
        ".popsection\n");
extern const char tokpipe_cu_image[], tokpipe_cu_image_end[];

struct str cu_image(void) {
    return (struct str){tokpipe_cu_image, (size_t)(tokpipe_cu_image_end - tokpipe_cu_image)};
}
#else
struct str cu_image(void) {
    return (struct str){NULL, 0};
}
#endif
