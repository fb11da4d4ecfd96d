/* Choosing one token from one row of logits: the chain of steps, in this order
 *
 *     logit bias, repetition penalty, presence and frequency penalty     (on logits)
 *     greedy: the largest, the lowest id of equals; or
 *     temperature, top-k, top-p, min-p, draw                              (on probabilities)
 *
 * Names, order and edges are those of the logits processors of transformers
 * (generation/logits_process.py); presence and frequency penalty, which it does not have, are those
 * of the OpenAI API: counted over the new tokens only, where the repetition penalty counts the
 * prompt too.
 *
 * The same logits, parameters, sequence and step give the same token on every machine: all
 * arithmetic is double, in a fixed order, with our own exp, and the random number is a hash of
 * (seed, sequence, step).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_CHAIN_H
#define SAMPLE_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sample/params.h"

/* What has been said so far. */
struct sample_history {
    const uint32_t *ids; // [n], each below vocab_size; the first n_prompt are the prompt
    size_t n, n_prompt;
    uint64_t sequence; // its number in the stream
};

struct sampler; // scratch for one vocabulary

struct sampler *sampler_new(uint32_t vocab_size);
void sampler_free(struct sampler *s);

/* Chooses from logits [vocab_size] into *id. -1 (EXIT_DATA) where a logit is NaN or +Inf, or none
 * is left.
 */
int sampler_choose(struct sampler *s, const float *logits, const struct sample_params *p,
                   const struct sample_history *history, uint32_t *id, struct err *e);

/* e^x for x <= 0 in IEEE double arithmetic of fixed order, within 2 ulp; 0 below -708. */
double sample_exp(double x);

/* A number in [0, 1) with 53 bits. */
double sample_uniform(uint64_t seed, uint64_t sequence, uint64_t step);

#endif
