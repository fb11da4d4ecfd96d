/* Scales and codes of one row of a matrix: the search that makes small numbers of large ones.
 *
 * In an i4 row an element is
 *
 *     row_scale * m * (table[code] + shift)
 *
 * with a code of 4 bits for each element, and an integer scale m and a shift for each block of
 * inputs: see panel_i4.h. In an i8 row it is row_scale * m * code: see panel_i8.h.
 *
 * The search minimises the weighted squared error, sum of weight * (x - its value)^2. The weight of
 * an input is the mean square of what it was in a text, or 1. For given codes q = table + shift the
 * best scale of a block is sum(weight x q) / sum(weight q^2), and the error that it removes is
 * sum(weight x q)^2 / sum(weight q^2). The search tries scales with every shift of a block,
 * takes those that remove the most error, chooses the row's scale, and then tries the integer
 * scales near the best again. Every sum has a fixed order, so a row gives the same bytes always.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef QUANTIZE_SEARCH_H
#define QUANTIZE_SEARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEARCH_CODES = 16, SEARCH_MAX_SHIFTS = 4, SEARCH_MAX_BLOCK = 64 };

/* The values of i4. */
struct search_grid {
    int8_t table[SEARCH_CODES];       // rising
    int8_t shifts[SEARCH_MAX_SHIFTS]; // table + shift must fit in [-127, 127]
    size_t n_shifts;
    int max_scale; // m is from 0, or -max_scale, to it
    bool negative; // m may be less than 0
    size_t block;  // inputs that share m and the shift: 16, 32 or 64
};

/* A row of i4. The arrays are the caller's. */
struct search_row {
    float scale;
    int8_t *scales;  // [search_blocks_of] m
    uint8_t *shifts; // [search_blocks_of] index into the grid's shifts
    uint8_t *codes;  // [n_in]
};

size_t search_blocks_of(const struct search_grid *g, size_t n_in); // the last may have fewer inputs

/* Memory for rows of n_in inputs, which one thread uses at a time. */
struct search;
struct search *search_new(size_t n_in);
void search_free(struct search *s);

/* Encodes x [n_in], which must be finite. weight [n_in]: at least 0 and finite, NULL: all 1.
 * Without `thorough` there is no search: scales come from the largest values. A row of zeros has
 * scale 0. */
void search_i4(struct search *s, const struct search_grid *g, const float *x, const float *weight,
               bool thorough, struct search_row *out);

/* A row of i8: row_scale * m * code. The arrays are the caller's. */
struct search_i8_row {
    float scale;
    uint8_t *m;    // [search_i8_blocks]
    int8_t *codes; // [n_in] from -127 to 127
};
enum { SEARCH_I8_MAX_M = 255 };
size_t search_i8_blocks(size_t n_in);

/* The same for i8. */
void search_i8(struct search *s, const float *x, const float *weight, bool thorough,
               struct search_i8_row *out);

/* The row's values, out [n_in]. */
void search_i4_values(const struct search_grid *g, const struct search_row *row, size_t n_in,
                      float *out);

#endif
