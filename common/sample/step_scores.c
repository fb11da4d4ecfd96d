/* The sampling chain's steps on scores: see step.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "sample/step.h"

/* Excludes the tokens that a grammar does not allow. */
void sample_step_allowed(struct sample_candidates *c, const struct sample_params *p,
                         const struct sample_history *h) {
    (void)p;
    if (!h->allowed)
        return;
    for (uint32_t first = 0; first < c->vocab_size; first += 64) {
        uint64_t bits = h->allowed[first / 64];
        uint32_t n = c->vocab_size - first < 64 ? c->vocab_size - first : 64;
        for (uint32_t i = 0; ~bits && i < n; i++)
            if (!(bits >> i & 1))
                c->scores[first + i] = -INFINITY;
    }
}

/* The ids are below vocab_size: sampler_choose has checked them. */
void sample_step_bias(struct sample_candidates *c, const struct sample_params *p,
                      const struct sample_history *h) {
    (void)h;
    for (size_t i = 0; i < p->n_bias; i++)
        c->scores[p->bias[i].id] += p->bias[i].value;
}

/* Once for each id of prompt and answer, however often it occurs (Keskar et al. 2019). As
 * RepetitionPenaltyLogitsProcessor. */
void sample_step_repetition(struct sample_candidates *c, const struct sample_params *p,
                            const struct sample_history *h) {
    if (p->repetition_penalty == 1)
        return;
    for (size_t i = 0; i < h->n; i++) {
        uint32_t id = h->ids[i];
        if (c->counts[id]++ == 0)
            c->scores[id] *= c->scores[id] < 0 ? p->repetition_penalty : 1 / p->repetition_penalty;
    }
    for (size_t i = 0; i < h->n; i++)
        c->counts[h->ids[i]] = 0;
}

/* Presence and frequency penalty. As in the OpenAI API: new tokens count, the prompt does not. */
void sample_step_presence(struct sample_candidates *c, const struct sample_params *p,
                          const struct sample_history *h) {
    if (p->presence_penalty == 0 && p->frequency_penalty == 0)
        return;
    for (size_t i = h->n_prompt; i < h->n; i++)
        c->counts[h->ids[i]]++;
    for (size_t i = h->n_prompt; i < h->n; i++) {
        uint32_t *count = &c->counts[h->ids[i]];
        if (*count)
            c->scores[h->ids[i]] -= p->presence_penalty + p->frequency_penalty * *count;
        *count = 0;
    }
}
