/* Matrices with the blocks of GGUF files, in the order in which kernels read them: what st-convert
 * --keep-quant writes, and model folders have. Values are those of the blocks, not rounded again.
 *
 * A matrix is one tensor of bytes. Its parts follow each other, each padded to 64 bytes. The rows
 * are in panels of 16, of which the last is padded with zeros:
 *
 *     | codes | d | dmin | steps | lows |
 *
 *     codes  [panels][panel bytes]      as MAT_G4 or MAT_G8 (mat.h)
 *     d      [panels][of a row][16]     F16: of each block; of each 256 inputs for Q4_K and Q6_K
 *     dmin   [panels][of a row][16]     F16, as d: Q4_1 (m) and Q4_K
 *     steps  [panels][of a row][16]     int8: of each 32 inputs for Q4_K, of each 16 for Q6_K
 *     lows   [panels][of a row][16]     uint8, as steps: Q4_K
 *
 * Values:  Q4_0 d * (code - 8)    Q4_1 d * code + m    Q8_0 d * (code - 128)
 *          Q4_K (d * step) * code - dmin * low         Q6_K (d * step) * (code - 128)
 *
 * quant(5) describes the tensors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_KEPT_H
#define WEIGHTS_KEPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "weights/mat.h"

enum kept_type { KEPT_Q4_0, KEPT_Q4_1, KEPT_Q8_0, KEPT_Q4_K, KEPT_Q6_K, KEPT_TYPES };
enum kept_part { KEPT_CODES, KEPT_D, KEPT_DMIN, KEPT_STEPS, KEPT_LOWS, KEPT_PARTS };

struct kept_kind {
    const char *name, *ending; // "Q4_0", ".weight_q4_0"
    enum mat_layout layout;
    size_t block; // inputs of a block of the file, which n_in must be a multiple of
    size_t group; // inputs with one scale
    int zero;     // the code of 0
    bool has_dmin;
};
const struct kept_kind *kept_kind(enum kept_type t);

/* Where the parts are in a tensor of n_out rows and n_in inputs. */
struct kept_map {
    size_t at[KEPT_PARTS];    // bytes from the beginning
    size_t panel[KEPT_PARTS]; // bytes of a panel; 0: the type has no such part
    size_t panels, all;       // all: bytes
};
/* False: n_in is no multiple of the block, or the bytes are more than a size_t can count. */
bool kept_map(enum kept_type t, size_t n_out, size_t n_in, struct kept_map *map);

/* The matrix whose tensor is at `data`, of kept_map's bytes. *q is filled, and m points to it. */
void kept_open(enum kept_type t, const void *data, size_t n_out, size_t n_in, struct mat_quant *q,
               struct mat *m);

#endif
