/* Statistics of a row of logits: the distribution's entropy, log-probabilities, and the largest
 * logits.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_RANK_H
#define SAMPLE_RANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rank_distribution {
    double log_sum; // ln of the sum of e^logit; NaN if a logit is NaN or +Inf, or all are -Inf
    double entropy; // in nats
};

/* logits [n] f32. ln p(id) = logits[id] - log_sum. */
struct rank_distribution rank_distribution(const float *logits, size_t n);

/* The ids of the k largest of logits [n], into ids [k]: larger first, the lower id first among
 * equals, NaN last. Returns their number, the smaller of k and n. */
size_t rank_top(const float *logits, size_t n, uint32_t *ids, size_t k);

uint32_t rank_first(const float *logits, size_t n); // the greedy choice

#endif
