/* The sampling chain: see chain.h; its steps are in step.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/chain.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "sample/step.h"

const struct sample_step sample_steps[] = {
    {"allowed", SAMPLE_ON_SCORES, sample_step_allowed},
    {"logit_bias", SAMPLE_ON_SCORES, sample_step_bias},
    {"repetition_penalty", SAMPLE_ON_SCORES, sample_step_repetition},
    {"presence_penalty, frequency_penalty", SAMPLE_ON_SCORES, sample_step_presence},
    {"top_k", SAMPLE_ON_WEIGHTS, sample_step_top_k},
    {"temp", SAMPLE_ON_WEIGHTS, sample_step_temp},
    {"top_p", SAMPLE_ON_WEIGHTS, sample_step_top_p},
    {"min_p", SAMPLE_ON_WEIGHTS, sample_step_min_p},
    {NULL, SAMPLE_ON_WEIGHTS, NULL},
};

struct sampler {
    struct sample_candidates c;
};

struct sampler *sampler_new(uint32_t vocab_size) {
    struct sampler *s = xcalloc(1, sizeof *s);
    struct sample_candidates *c = &s->c;
    c->vocab_size = vocab_size;
    c->scores = xcalloc(vocab_size, sizeof *c->scores);
    c->ids = xcalloc(vocab_size, sizeof *c->ids);
    c->weights = xcalloc(vocab_size, sizeof *c->weights);
    c->scratch = xcalloc(vocab_size, sizeof *c->scratch);
    c->counts = xcalloc(vocab_size, sizeof *c->counts);
    return s;
}

void sampler_free(struct sampler *s) {
    if (!s)
        return;
    free(s->c.scores);
    free(s->c.ids);
    free(s->c.weights);
    free(s->c.scratch);
    free(s->c.counts);
    free(s);
}

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t splitmix64(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

double sample_uniform(uint64_t seed, uint64_t sequence, uint64_t step) {
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = splitmix64(seed + golden);
    x = splitmix64((x ^ sequence) + golden);
    x = splitmix64((x ^ step) + golden);
    return (double)(x >> 11) * 0x1p-53;
}

/* Copies logits [vocab_size] to c->scores; refuses NaN and +Inf. */
static int take_logits(struct sample_candidates *c, const float *logits, struct err *e) {
    uint32_t bad = 0;
    for (uint32_t id = 0; id < c->vocab_size; id++) {
        c->scores[id] = (double)logits[id];
        bad += logits[id] < INFINITY ? 0 : 1;
    }
    for (uint32_t id = 0; bad && id < c->vocab_size; id++)
        if (!(logits[id] < INFINITY))
            return err_set(e, EXIT_DATA, "the logit of token %" PRIu32 " is %s", id,
                           isnan(logits[id]) ? "NaN" : "+Inf");
    return 0;
}

/* The first token that has the largest score. Eight maxima at a time, for vectors. */
static uint32_t best_of(const double *scores, uint32_t n) {
    double most[8], largest = -INFINITY;
    for (int j = 0; j < 8; j++)
        most[j] = -INFINITY;
    uint32_t i = 0;
    for (; n - i >= 8; i += 8)
        for (uint32_t j = 0; j < 8; j++)
            most[j] = scores[i + j] > most[j] ? scores[i + j] : most[j];
    for (; i < n; i++)
        most[0] = scores[i] > most[0] ? scores[i] : most[0];
    for (int j = 0; j < 8; j++)
        largest = most[j] > largest ? most[j] : largest;
    for (i = 0; scores[i] != largest;)
        i++;
    return i;
}

static void apply(struct sample_candidates *c, enum sample_step_kind kind,
                  const struct sample_params *p, const struct sample_history *h) {
    for (const struct sample_step *step = sample_steps; step->name; step++)
        if (step->kind == kind)
            step->apply(c, p, h);
}

/* No token has a score: says why. */
static int refuse_all(const struct sample_candidates *c, const struct sample_history *h,
                      struct err *e) {
    if (!h->allowed)
        return err_set(e, EXIT_DATA, "every logit is -Inf");
    for (uint32_t id = 0; id < c->vocab_size; id++)
        if (h->allowed[id / 64] >> id % 64 & 1)
            return err_set(e, EXIT_DATA, "the logit of every allowed token is -Inf");
    return err_set(e, EXIT_DATA, "no token is allowed");
}

static uint32_t draw(const struct sample_candidates *c, double uniform) {
    double target = uniform * sample_total_weight(c->weights, c->n), sum = 0;
    size_t last = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->weights[i] > 0)
            last = i; // chosen if rounding makes the target the whole sum
        sum += c->weights[i];
        if (sum > target)
            break;
    }
    return c->ids[last];
}

int sampler_choose(struct sampler *s, const float *logits, const struct sample_params *p,
                   const struct sample_history *h, uint32_t *id, struct err *e) {
    struct sample_candidates *c = &s->c;
    if (take_logits(c, logits, e) != 0 || sample_check_ids(p, c->vocab_size, e) != 0)
        return -1;
    apply(c, SAMPLE_ON_SCORES, p, h);
    uint32_t best = best_of(c->scores, c->vocab_size);
    c->largest = c->scores[best];
    if (c->largest == -INFINITY)
        return refuse_all(c, h, e);
    *id = best;
    if (p->temp == 0)
        return 0;
    apply(c, SAMPLE_ON_WEIGHTS, p, h);
    uint64_t sequence = p->own_seed ? 0 : h->sequence;
    *id = draw(c, sample_uniform(p->seed, sequence, h->n - h->n_prompt));
    return 0;
}
