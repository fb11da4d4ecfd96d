/* The sampling chain: see chain.h. Each step is one function, in the order in which they run.
 *
 * No step sorts a vocabulary: top-k keeps a heap of k scores, top-p drops what cannot be in the nucleus and
 * takes the rest from a heap only until its mass is reached.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/chain.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct candidate {
    double weight; // e^((score - largest) / temperature)
    uint32_t id;
};

struct sampler {
    uint32_t vocab_size;
    double *scores;               // [vocab_size]
    uint32_t *counts;             // [vocab_size], zeros between calls
    struct candidate *candidates; // [vocab_size]
    double *heap;                 // [vocab_size]
};

struct sampler *sampler_new(uint32_t vocab_size) {
    struct sampler *s = xcalloc(1, sizeof *s);
    s->vocab_size = vocab_size;
    s->scores = xcalloc(vocab_size, sizeof *s->scores);
    s->counts = xcalloc(vocab_size, sizeof *s->counts);
    s->candidates = xcalloc(vocab_size, sizeof *s->candidates);
    s->heap = xcalloc(vocab_size, sizeof *s->heap);
    return s;
}

void sampler_free(struct sampler *s) {
    if (!s)
        return;
    free(s->scores);
    free(s->counts);
    free(s->candidates);
    free(s->heap);
    free(s);
}

/* The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

double sample_uniform(uint64_t seed, uint64_t sequence, uint64_t step) {
    const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15);
    uint64_t x = mix(seed + golden);
    x = mix((x ^ sequence) + golden);
    x = mix((x ^ step) + golden);
    return (double)(x >> 11) * 0x1p-53;
}

/* e^x = 2^k e^r with |r| <= ln(2)/2; the Taylor series to r^13 is short of e^r by less than 1e-17. */
double sample_exp(double x) {
    static const double over_factorial[] = {1.0 / 6227020800,
                                            1.0 / 479001600,
                                            1.0 / 39916800,
                                            1.0 / 3628800,
                                            1.0 / 362880,
                                            1.0 / 40320,
                                            1.0 / 5040,
                                            1.0 / 720,
                                            1.0 / 120,
                                            1.0 / 24,
                                            1.0 / 6,
                                            0.5,
                                            1,
                                            1}; // 1/13! .. 1/0!
    if (!(x >= -708))
        return 0;
    const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
    int k = (int)(x * 1.4426950408889634 - 0.5); // towards zero: x is not positive
    double r = (x - k * ln2_high) - k * ln2_low, sum = 0;
    for (int i = 0; i < 14; i++)
        sum = sum * r + over_factorial[i];
    uint64_t bits = (uint64_t)(1023 + k) << 52;
    double scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}

static int add_bias(struct sampler *s, const struct sample_params *p, struct err *e) {
    if (sample_check_ids(p, s->vocab_size, e) != 0)
        return -1;
    for (size_t i = 0; i < p->n_bias; i++)
        s->scores[p->bias[i].id] += p->bias[i].value;
    return 0;
}

/* As RepetitionPenaltyLogitsProcessor (Keskar et al. 2019): once for each id that has been seen. */
static void penalise_repetition(struct sampler *s, const struct sample_params *p,
                                const struct sample_history *h) {
    if (p->repetition_penalty == 1)
        return;
    for (size_t i = 0; i < h->n; i++) {
        uint32_t id = h->ids[i];
        if (s->counts[id]++ == 0)
            s->scores[id] *= s->scores[id] < 0 ? p->repetition_penalty : 1 / p->repetition_penalty;
    }
    for (size_t i = 0; i < h->n; i++)
        s->counts[h->ids[i]] = 0;
}

static void penalise_presence(struct sampler *s, const struct sample_params *p,
                              const struct sample_history *h) {
    if (p->presence_penalty == 0 && p->frequency_penalty == 0)
        return;
    for (size_t i = h->n_prompt; i < h->n; i++)
        s->counts[h->ids[i]]++;
    for (size_t i = h->n_prompt; i < h->n; i++) {
        uint32_t *count = &s->counts[h->ids[i]];
        if (*count)
            s->scores[h->ids[i]] -= p->presence_penalty + p->frequency_penalty * *count;
        *count = 0;
    }
}

/* The k-th largest score; -Inf where there are no more than k. */
static double kth_score(struct sampler *s, uint64_t k) {
    if (k == 0 || k >= s->vocab_size)
        return -INFINITY;
    double *heap = s->heap; // the k largest so far, the smallest of them first
    for (size_t i = 0; i < k; i++)
        heap[i] = -INFINITY;
    for (uint32_t id = 0; id < s->vocab_size; id++) {
        double score = s->scores[id];
        if (score <= heap[0])
            continue;
        size_t at = 0;
        for (size_t child; (child = 2 * at + 1) < k; at = child) {
            child += child + 1 < k && heap[child + 1] < heap[child];
            if (score <= heap[child])
                break;
            heap[at] = heap[child];
        }
        heap[at] = score;
    }
    return heap[0];
}

/* Temperature and top-k: those that equal the k-th stay, as in TopKLogitsWarper. Returns how many there
 * are. */
static size_t weigh(struct sampler *s, const struct sample_params *p, double largest) {
    double kth = kth_score(s, p->top_k);
    size_t n = 0;
    for (uint32_t id = 0; id < s->vocab_size; id++) {
        double score = s->scores[id];
        if (score >= kth && score > -INFINITY)
            s->candidates[n++] = (struct candidate){sample_exp((score - largest) / p->temp), id};
    }
    return n;
}

static double total_weight(const struct candidate *c, size_t n) {
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += c[i].weight;
    return total;
}

static bool heavier(struct candidate a, struct candidate b) {
    return a.weight > b.weight || (a.weight == b.weight && a.id < b.id);
}

/* Moves x down a heap of n whose first place is `at` and free; the heaviest is first. */
static void sift_down(struct candidate *heap, size_t n, size_t at, struct candidate x) {
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        child += child + 1 < n && heavier(heap[child + 1], heap[child]);
        if (!heavier(heap[child], x))
            break;
        heap[at] = heap[child];
    }
    heap[at] = x;
}

/* The fewest, heaviest first, that hold top_p of the mass (Holtzman et al. 2020), as TopPLogitsWarper keeps
 * them. All that weigh less than the average of the mass outside are together less than it: they are not in
 * the nucleus. */
static size_t keep_nucleus(struct candidate *c, size_t n, double top_p) {
    if (top_p >= 1 || n < 2)
        return n;
    double total = total_weight(c, n), floor = (1 - top_p) * total / (double)n;
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (c[i].weight >= floor)
            c[m++] = c[i];
    for (size_t i = m / 2; i-- > 0;)
        sift_down(c, m, i, c[i]);
    /* The heap shrinks from behind, and the freed places take the nucleus: c[left .. m), lightest first. */
    double mass = 0;
    size_t left = m;
    while (left > 0 && mass < top_p * total) {
        struct candidate heaviest = c[0];
        mass += heaviest.weight;
        left--;
        sift_down(c, left, 0, c[left]);
        c[left] = heaviest;
    }
    memmove(c, c + left, (m - left) * sizeof *c);
    return m - left;
}

/* Those with at least min_p of the most probable one's probability (MinPLogitsWarper); its weight is 1. */
static size_t keep_min_p(struct candidate *c, size_t n, double min_p) {
    if (min_p == 0)
        return n;
    size_t m = 0;
    for (size_t i = 0; i < n; i++)
        if (c[i].weight >= min_p)
            c[m++] = c[i];
    return m;
}

static uint32_t draw(const struct candidate *c, size_t n, double uniform) {
    double target = uniform * total_weight(c, n), sum = 0;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (c[i].weight > 0)
            last = i; // where rounding leaves the target at the very end
        sum += c[i].weight;
        if (sum > target)
            break;
    }
    return c[last].id;
}

/* Copies the logits to s->scores; refuses those that are no numbers. */
static int take_logits(struct sampler *s, const float *logits, struct err *e) {
    for (uint32_t id = 0; id < s->vocab_size; id++) {
        if (!(logits[id] < INFINITY))
            return err_set(e, EXIT_DATA, "the logit of token %" PRIu32 " is %s", id,
                           isnan(logits[id]) ? "NaN" : "+Inf");
        s->scores[id] = (double)logits[id];
    }
    return 0;
}

int sampler_choose(struct sampler *s, const float *logits, const struct sample_params *p,
                   const struct sample_history *h, uint32_t *id, struct err *e) {
    if (take_logits(s, logits, e) != 0 || add_bias(s, p, e) != 0)
        return -1;
    penalise_repetition(s, p, h);
    penalise_presence(s, p, h);
    uint32_t best = 0;
    for (uint32_t i = 1; i < s->vocab_size; i++)
        if (s->scores[i] > s->scores[best])
            best = i;
    if (s->scores[best] == -INFINITY)
        return err_set(e, EXIT_DATA, "every logit is -Inf");
    *id = best;
    if (p->temp == 0)
        return 0;
    size_t n = weigh(s, p, s->scores[best]);
    n = keep_nucleus(s->candidates, n, p->top_p);
    n = keep_min_p(s->candidates, n, p->min_p);
    uint64_t sequence = p->own_seed ? 0 : h->sequence;
    *id = draw(s->candidates, n, sample_uniform(p->seed, sequence, h->n - h->n_prompt));
    return 0;
}
