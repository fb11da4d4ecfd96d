/* Prints what a model folder means to llm-forward, for people.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_DESCRIBE_H
#define MODEL_DESCRIBE_H

#include <stdio.h>

#include "base/err.h"

struct weights;

/* Prints the spec of dir/config.json, the memory of weights and of keys and values for a context of
 * that many positions (0: the model's own), and whether each tensor of w is used. Returns 1 if
 * tensors are missing or do not fit (their names are printed); -1 if the model is not supported or
 * cannot be read. */
int model_describe(FILE *out, const char *dir, const struct weights *w, size_t context,
                   struct err *e);

#endif
