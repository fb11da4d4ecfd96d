/* A vector as the scan of an INDEX_I8 index has it: the i8 layout of weights/panel_i8.h.
 *
 * A value is scale * m * code: a scale for the vector, an m for each block of 32 values.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef INDEX_SCAN_I8_H
#define INDEX_SCAN_I8_H

#include <stddef.h>
#include <stdint.h>

#include "weights/panel_i8.h"

/* The rows of a panel so far. */
struct scan_i8 {
    size_t dim, n_blocks;
    int8_t *codes; // [PANEL_ROWS, dim]
    uint8_t *m;    // [PANEL_ROWS, n_blocks]
    float scales[PANEL_ROWS];
    size_t n;             // rows
    unsigned char *panel; // [panel_i8_bytes]
};

void scan_i8_init(struct scan_i8 *s, size_t dim);
void scan_i8_free(struct scan_i8 *s);

/* Adds a row [dim]; there is room for it. Returns the length of the difference to what is stored.
 */
double scan_i8_add(struct scan_i8 *s, const float *row);
/* The rows as a panel, which is valid until the next call; then there are none. */
const unsigned char *scan_i8_take(struct scan_i8 *s);

#endif
