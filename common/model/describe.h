/* What we understand of a model folder, for people.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef MODEL_DESCRIBE_H
#define MODEL_DESCRIBE_H

#include <stdio.h>

#include "base/err.h"

struct weights;

/* Prints the spec of dir/config.json, the memory for weights and for KV at a context of so many
 * positions (0: the model's own), and what becomes of every tensor of w. 1 where tensors are
 * missing or do not fit (they are named), -1 with e set where the model is not supported or not
 * readable. */
int model_describe(FILE *out, const char *dir, const struct weights *w, size_t context,
                   struct err *e);

#endif
