/* Lists the tensors of weights, as a table for people and as JSON for programs.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_LISTING_H
#define WEIGHTS_LISTING_H

#include <stdio.h>

#include "weights/safetensors.h"
#include "weights/stats.h"

/* stats: [w->n_tensors], or NULL for a listing without them. */

/* Writes a line with the columns' names, one line a tensor, an empty line, and the totals by dtype.
 * Columns are separated by spaces and contain none, except for names. */
void listing_table(FILE *out, const struct weights *w, const struct stats_tensor *stats);

/* One object: files, tensors, dtypes, total, fingerprint; a line a tensor. */
void listing_json(FILE *out, const struct weights *w, const struct stats_tensor *stats);

#endif
