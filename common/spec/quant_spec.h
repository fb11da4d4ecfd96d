/* quantization_config as formats of matrices need it: struct spec_quant.
 *
 * Which matrices are quantised, their codes and their groups follow from the tensors. These fields
 * say what tensors do not show, and what they are checked against.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SPEC_QUANT_SPEC_H
#define SPEC_QUANT_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* How the tensors of a matrix are called and packed. */
enum quant_store {
    QUANT_PLAIN,
    QUANT_COMPRESSED, // compressed-tensors, and AutoRound's files of that form
    QUANT_GPTQ,       // GPTQ, and AutoRound's files of that form
    QUANT_AWQ,        // AWQ, and AutoRound's files of that form
    QUANT_FP8,        // fp8, fbgemm_fp8
    QUANT_MODELOPT,
    QUANT_MLX,
    QUANT_BNB, // bitsandbytes
};

/* Quantised matrices have the values of one of these. */
struct quant_args {
    int32_t bits;       // 0: any
    int32_t group_size; // inputs that share a scale; -1: all inputs of an output; 0: any
    bool sym;           // no zero points
    bool is_float;
};

enum { QUANT_MAX_ARGS = 64 };

/* All zero (method NULL): not quantised. */
struct spec_quant {
    const char *method; // quant_method; "mlx" where MLX's files have none. In the spec's arena
    enum quant_store store;
    int32_t bits;       // of a weight (bits, w_bit); 0: missing
    int32_t group_size; // inputs that share a scale (group_size, q_group_size); -1: all inputs of
                        // an output; 0: missing
    bool sym;           // sym is true: no zero points
    bool desc_act;      // desc_act is true: g_idx orders the inputs (GPTQ)
    bool raw_zeros;     // GPTQ: zero points are stored as they are; else each is stored minus 1
    bool dynamic;       // it says that scales of activations are computed from them
    struct quant_args args[QUANT_MAX_ARGS];
    size_t n_args;      // 0: nothing is said
    size_t block[2];    // fp8: rows and inputs with one scale; 0: not given
    const char **plain; // [n_plain] full names of modules that are not quantised
    size_t n_plain;
    struct str raw; // the object's JSON text, in the spec's arena
};

#endif
