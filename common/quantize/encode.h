/* The types that a matrix can be quantised to, and panels of them from rows of any matrix.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef QUANTIZE_ENCODE_H
#define QUANTIZE_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/mem.h"
#include "weights/mat.h"

/* From fewest bits to most. QUANTIZE_PLAIN: as the source has it. */
enum quantize_type {
    QUANTIZE_NF4,
    QUANTIZE_I4_32,
    QUANTIZE_I4_16,
    QUANTIZE_I8,
    QUANTIZE_PLAIN,
    QUANTIZE_TYPES
};

const char *quantize_type_name(enum quantize_type t);              // "i4_32"; "plain"
bool quantize_type_parse(const char *name, enum quantize_type *t); // "i4" is i4_16
const char *quantize_type_ending(enum quantize_type t);            // of the tensor: ".weight_i4_32"
size_t quantize_panels(size_t n_out);
size_t quantize_panel_bytes(enum quantize_type t, size_t n_in); // SIZE_MAX: too many

/* The squared error of rows, and the sum of their squares; both weighted. */
struct quantize_error {
    double error, energy;
};
double quantize_relative(struct quantize_error e); // square root of their quotient; 0 for zeros

/* Memory to encode rows of n_in inputs to type t, for one thread. */
struct quantizer;
struct quantizer *quantizer_new(enum quantize_type t, size_t n_in);
void quantizer_free(struct quantizer *c);
bool quantizer_fits(const struct quantizer *c, enum quantize_type t, size_t n_in);

struct quantizer_options {
    const float *weight; // [n_in] of the squared errors, or NULL: all 1
    bool thorough;       // search for scales
};

/* Encodes rows [16 panel, 16 panel + 16) of w to `to` [quantize_panel_bytes], and adds their errors
 * to sum. -1 (EXIT_DATA): a weight is not finite; the message has its row. */
int quantizer_panel(struct quantizer *c, const struct mat *w, size_t panel,
                    const struct quantizer_options *o, unsigned char *to,
                    struct quantize_error *sum, struct err *e);

#endif
