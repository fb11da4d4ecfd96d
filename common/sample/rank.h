/* What a row of logits says: its distribution's entropy, log-probabilities, and the largest few.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_RANK_H
#define SAMPLE_RANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct distribution {
    double log_sum; // ln of the sum of e^logit; NaN where a logit is NaN or +Inf, or all are -Inf
    double entropy; // in nats
};

/* logits [n] f32. ln p(id) = logits[id] - log_sum. */
struct distribution distribution_of(const float *logits, size_t n);

/* The k largest of logits [n], larger first, the lower id first among equals, into ids [k]; NaN
 * ranks last. Returns how many: k or n. */
size_t rank_top(const float *logits, size_t n, uint32_t *ids, size_t k);

uint32_t rank_first(const float *logits, size_t n); // the greedy choice

#endif
