/* Reads the statistics of activations that llm-forward --collect writes (model/collect.h), as
 * weights of errors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef QUANTIZE_STATS_H
#define QUANTIZE_STATS_H

#include <stddef.h>

#include "base/err.h"
#include "weights/safetensors.h"

struct quantize_stats {
    struct weights file;
};

/* Refused (EXIT_DATA): tensors that are not MODULE.sum_squares F32 or F64 [n], or MODULE.rows I64
 * [1]; values that are negative or not finite; a file without any module. Nothing is left open
 * after -1. */
int quantize_stats_open(struct quantize_stats *s, const char *path, struct err *e);
/* The same from n bytes at p, which the caller owns. name is for messages. */
int quantize_stats_from_bytes(struct quantize_stats *s, const char *name, const void *p, size_t n,
                              struct err *e);
void quantize_stats_close(struct quantize_stats *s);

/* The weights of the module's inputs: mean squares, scaled so that their mean is 1. Inputs that
 * were nearly always 0 get a thousandth, so that they are not forgotten. out [n_in]. 1; 0 if the
 * file has no such module, or only zeros; -1 (EXIT_DATA) if it has another number of inputs. */
int quantize_stats_weights(const struct quantize_stats *s, const char *module, size_t n_in,
                           float *out, struct err *e);

#endif
