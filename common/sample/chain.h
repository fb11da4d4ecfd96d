/* Chooses one token from one row of logits. The chain of steps (step.h), in this order:
 *
 *     allowed ids, logit bias, repetition penalty, presence and frequency penalty  (on scores)
 *     greedy: the largest score, the lowest id of equals; or
 *     top-k, temperature, top-p, min-p, draw                                       (on weights)
 *
 * Names, order and edge cases are those of the logits processors of transformers
 * (generation/logits_process.py). It has no presence and frequency penalty: those are the OpenAI
 * API's. They count new tokens only; the repetition penalty counts the prompt too.
 *
 * The same logits, parameters, sequence and step give the same token on every machine. All
 * arithmetic is double in a fixed order, with our own exp. The random number is a hash of seed,
 * sequence and step.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef SAMPLE_CHAIN_H
#define SAMPLE_CHAIN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "sample/params.h"

/* The sequence up to now, and what may follow. */
struct sample_history {
    const uint32_t *ids; // [n], each below vocab_size; the first n_prompt are the prompt
    size_t n, n_prompt;
    uint64_t sequence;       // its number in the stream
    const uint64_t *allowed; // [(vocab_size + 63) / 64] words; bit id % 64 of word id / 64 allows
                             // that id, as a grammar does. NULL: all are allowed
};

struct sampler; // memory for one vocabulary; for one thread at a time

struct sampler *sampler_new(uint32_t vocab_size);
void sampler_free(struct sampler *s);

/* Chooses from logits [vocab_size] f32 into *id. -1 with e set: EXIT_DATA if a logit is NaN or
 * +Inf, or if no token is left, as with an empty mask; EXIT_USAGE if p names an id outside the
 * vocabulary. */
int sampler_choose(struct sampler *s, const float *logits, const struct sample_params *p,
                   const struct sample_history *history, uint32_t *id, struct err *e);

/* e^x for x <= 0, in double arithmetic of a fixed order, within 2 ulp; 0 below -708. */
double sample_exp(double x);

/* A random number in [0, 1) with 53 bits: a hash of the arguments. */
double sample_uniform(uint64_t seed, uint64_t sequence, uint64_t step);

#endif
