/* Statistics of one tensor's values.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_STATS_H
#define WEIGHTS_STATS_H

#include <stdint.h>

#include "weights/safetensors.h"

/* min, max, mean and std (of the population: divided by n) are of the finite values; all NaN if
 * there are none. For C64 they are of the real parts. */
struct stats_tensor {
    double min, max, mean, std;
    uint64_t n_finite, n_nan, n_inf;
};

void stats_tensor(struct stats_tensor *s, const struct tensor *t);

#endif
