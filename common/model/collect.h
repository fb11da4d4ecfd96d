/* Statistics of a model's activations: for each matrix, the sum of squares of each input over all
 * rows that it was multiplied with. st-quantize weights its errors by them.
 *
 * The file is safetensors. MODULE is a matrix's name without ".weight":
 *
 *     MODULE.sum_squares  F32 [n_in]
 *     MODULE.rows         I64 [1]     rows that were added up
 *
 * A module that no row has reached, such as an expert that no token chose, is not in the file. Sums
 * are exact fixed-point numbers until the file is written, so the order of rows does not matter.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_COLLECT_H
#define MODEL_COLLECT_H

#include "base/err.h"

struct model;
struct collect;

/* Begins to collect from what the model computes. -1 (EXIT_USAGE): its device is not the CPU. The
 * model must outlive c. */
int collect_start(struct collect **c, struct model *m, struct err *e);

/* Writes the file; it appears under its name when it is complete. -1: EXIT_DATA, no row was
 * computed, or an activation was not finite; EXIT_IO. */
int collect_write(const struct collect *c, const char *path, struct err *e);

/* Ends collecting; c may be NULL. */
void collect_free(struct collect *c);

#endif
