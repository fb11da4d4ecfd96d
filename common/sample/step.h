/* The steps of the sampling chain, in the order in which they run.
 *
 * A step changes the candidates. Steps on scores see every token of the vocabulary; a step excludes
 * a token by the score -Inf. Steps on weights see the n tokens that are left, and are not run where
 * the choice is greedy. To add a step, write its function and add a row to sample_steps.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_STEP_H
#define SAMPLE_STEP_H

#include <stddef.h>
#include <stdint.h>

#include "sample/chain.h"
#include "sample/params.h"

struct sample_candidates {
    uint32_t vocab_size;
    double *scores; // [vocab_size] logits, as the steps change them
    double largest; // of scores, when the steps on weights begin

    size_t n;        // candidates: 0 before the first step on weights
    uint32_t *ids;   // [n] of vocab_size, ascending
    double *weights; // [n] of vocab_size: e^((score - largest) / temperature)

    double *scratch;  // [vocab_size] for any step
    uint32_t *counts; // [vocab_size] for any step: zeros before and after it
};

enum sample_step_kind { SAMPLE_ON_SCORES, SAMPLE_ON_WEIGHTS };

struct sample_step {
    const char *name; // of the parameters that it applies
    enum sample_step_kind kind;
    void (*apply)(struct sample_candidates *c, const struct sample_params *p,
                  const struct sample_history *h);
};

extern const struct sample_step
    sample_steps[]; // steps on scores first; name is NULL after the last

/* Steps on scores: step_scores.c */
void sample_step_allowed(struct sample_candidates *c, const struct sample_params *p,
                         const struct sample_history *h);
void sample_step_bias(struct sample_candidates *c, const struct sample_params *p,
                      const struct sample_history *h);
void sample_step_repetition(struct sample_candidates *c, const struct sample_params *p,
                            const struct sample_history *h);
void sample_step_presence(struct sample_candidates *c, const struct sample_params *p,
                          const struct sample_history *h);

/* Steps on weights: step_weights.c. top_k is the first of them: it collects the candidates. */
void sample_step_top_k(struct sample_candidates *c, const struct sample_params *p,
                       const struct sample_history *h);
void sample_step_temp(struct sample_candidates *c, const struct sample_params *p,
                      const struct sample_history *h);
void sample_step_top_p(struct sample_candidates *c, const struct sample_params *p,
                       const struct sample_history *h);
void sample_step_min_p(struct sample_candidates *c, const struct sample_params *p,
                       const struct sample_history *h);

double sample_total_weight(const double *weights, size_t n); // summed in order

#endif
