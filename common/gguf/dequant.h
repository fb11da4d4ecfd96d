/* The block formats of GGUF tensors, to f32.
 *
 * Layouts and formulas: ggml/src/ggml-common.h (struct block_*) and ggml/src/ggml-quants.c
 * (dequantize_row_*) of https://github.com/ggml-org/ggml. Every product and sum is rounded once, in
 * the order of those formulas, so that the values equal the reference's bit for bit.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef GGUF_DEQUANT_H
#define GGUF_DEQUANT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ggml_type { // numbers of the file format (ggml.h, enum ggml_type); the ones that are converted
    GGML_F32 = 0,
    GGML_F16 = 1,
    GGML_Q4_0 = 2,
    GGML_Q4_1 = 3,
    GGML_Q5_0 = 6,
    GGML_Q5_1 = 7,
    GGML_Q8_0 = 8,
    GGML_Q2_K = 10,
    GGML_Q3_K = 11,
    GGML_Q4_K = 12,
    GGML_Q5_K = 13,
    GGML_Q6_K = 14,
    GGML_IQ4_NL = 20,
    GGML_IQ4_XS = 23,
    GGML_F64 = 28,
    GGML_BF16 = 30,
    GGML_TQ1_0 = 34,
    GGML_TQ2_0 = 35,
    GGML_MXFP4 = 39,
};

/* Size and name of a type's blocks, also for types that cannot be converted. False if the number is
 * not assigned. */
struct gguf_layout {
    const char *name; // "Q4_K"
    uint32_t block;   // elements
    uint32_t n_bytes; // of one block
    bool convertible;
};
bool gguf_layout(uint32_t type, struct gguf_layout *out);

/* n elements (a multiple of the type's block) at src, any alignment, to dst [n] f32. The type is
 * convertible. */
void gguf_dequant(uint32_t type, const void *src, float *dst, size_t n);

/* Parts of blocks, for those who do not compute values. Q4_K and Q5_K: the 6-bit scale and minimum
 * of group j (of 8) in the 12 bytes s. Q6_K: the code of element `at`, from 0 to 63. */
void gguf_k_scale_min(const uint8_t *s, int j, uint8_t *scale, uint8_t *min);
int gguf_q6_k_code(const uint8_t *block, int at);

#endif
