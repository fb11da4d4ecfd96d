/* The sampling chain: see chain.h. Each step is one function, in the order in which they run.
 *
 * No step sorts a vocabulary: top-k keeps a heap of k scores, top-p finds the lightest weight of
 * the nucleus by partition, and both then drop the rest in one pass. Loops over a vocabulary have
 * no branches where they compute, so that compilers make vectors of them; sums run in the order of
 * ids.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "sample/chain.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct sampler {
    uint32_t vocab_size;
    double *scores;   // [vocab_size] logits as they are changed
    uint32_t *counts; // [vocab_size] zeros between calls
    /* Candidates, in the order of ids: e^((score - largest) / temperature), and which token. */
    double *weights; // [vocab_size]
    uint32_t *ids;   // [vocab_size]
    double *scratch; // [vocab_size]
};

struct sampler *sampler_new(uint32_t vocab_size) {
    struct sampler *s = xcalloc(1, sizeof *s);
    s->vocab_size = vocab_size;
    s->scores = xcalloc(vocab_size, sizeof *s->scores);
    s->counts = xcalloc(vocab_size, sizeof *s->counts);
    s->weights = xcalloc(vocab_size, sizeof *s->weights);
    s->ids = xcalloc(vocab_size, sizeof *s->ids);
    s->scratch = xcalloc(vocab_size, sizeof *s->scratch);
    return s;
}

void sampler_free(struct sampler *s) {
    if (!s)
        return;
    free(s->scores);
    free(s->counts);
    free(s->weights);
    free(s->ids);
    free(s->scratch);
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

/* e^x = 2^k e^r with |r| <= ln(2)/2; the Taylor series to r^13 is short of e^r by less than 1e-17.
 * Adding 1.5 * 2^52 rounds to a whole number and leaves it in the low bits. */
static inline double exp_of(double x) {
    const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33, shift = 0x1.8p52;
    double in = x > -708 ? x : -708, shifted = in * 1.4426950408889634 + shift, k = shifted - shift;
    double r = (in - k * ln2_high) - k * ln2_low, sum = 1.0 / 6227020800, scale;
    sum = sum * r + 1.0 / 479001600;
    sum = sum * r + 1.0 / 39916800;
    sum = sum * r + 1.0 / 3628800;
    sum = sum * r + 1.0 / 362880;
    sum = sum * r + 1.0 / 40320;
    sum = sum * r + 1.0 / 5040;
    sum = sum * r + 1.0 / 720;
    sum = sum * r + 1.0 / 120;
    sum = sum * r + 1.0 / 24;
    sum = sum * r + 1.0 / 6;
    sum = sum * r + 0.5;
    sum = sum * r + 1;
    sum = sum * r + 1;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    memcpy(&scale, &bits, sizeof scale);
    return x >= -708 ? sum * scale : 0;
}

double sample_exp(double x) {
    return exp_of(x);
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
    double *heap = s->scratch; // the k largest so far, the smallest of them first
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

/* Temperature and top-k: those that equal the k-th stay, as in TopKLogitsWarper. Returns how many
 * there are. */
static size_t weigh(struct sampler *s, const struct sample_params *p, double largest) {
    double kth = kth_score(s, p->top_k);
    size_t n = 0;
    for (uint32_t id = 0; id < s->vocab_size; id++) {
        s->weights[n] = s->scores[id] - largest;
        s->ids[n] = id;
        n += s->scores[id] >= kth && s->scores[id] > -INFINITY;
    }
    for (size_t i = 0; i < n; i++)
        s->weights[i] = exp_of(s->weights[i] / p->temp);
    return n;
}

static double total_weight(const double *weights, size_t n) {
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += weights[i];
    return total;
}

/* Of w [n], in any order: the lightest weight that is needed, heaviest first, for a mass of
 * `target`, and how many of that weight. Partition into heavier, equal and lighter, and on into the
 * part where the mass is reached. */
static double nucleus_floor(double *w, size_t n, double target, size_t *n_equal) {
    double mass = 0; // of those that are surely needed
    size_t begin = 0, end = n;
    for (;;) {
        double a = w[begin], b = w[begin + (end - begin) / 2], c = w[end - 1];
        double pivot = a < b ? (b < c   ? b
                                : a < c ? c
                                        : a)
                             : (a < c   ? a
                                : b < c ? c
                                        : b),
               heavier = 0;
        size_t high = begin, at = begin,
               low = end; // heavier before high, equal before at, lighter from low on
        while (at < low) {
            double x = w[at];
            if (x > pivot) {
                heavier += x;
                w[at++] = w[high];
                w[high++] = x;
            } else if (x < pivot) {
                w[at] = w[--low];
                w[low] = x;
            } else {
                at++;
            }
        }
        double with_equals = mass + heavier + pivot * (double)(low - high);
        if (mass + heavier >= target && high > begin) {
            end = high;
        } else if (with_equals >= target || low == end) {
            double needed = ceil((target - mass - heavier) / pivot), all = (double)(low - high);
            *n_equal = !(needed < all) ? low - high : needed < 1 ? 1 : (size_t)needed;
            return pivot;
        } else {
            mass = with_equals;
            begin = low;
        }
    }
}

/* The fewest, heaviest first, that hold top_p of the mass (Holtzman et al. 2020), as
 * TopPLogitsWarper keeps them; of equals the lower ids. All that weigh less than the average of the
 * mass outside are together less than it: they are not in the nucleus, and are not looked at again.
 */
static size_t keep_nucleus(struct sampler *s, size_t n, double top_p) {
    if (top_p >= 1 || n < 2)
        return n;
    double total = total_weight(s->weights, n), outside = (1 - top_p) * total / (double)n;
    size_t m = 0, n_equal;
    for (size_t i = 0; i < n; i++) {
        s->scratch[m] = s->weights[i];
        m += s->weights[i] >= outside;
    }
    double floor = nucleus_floor(s->scratch, m, top_p * total, &n_equal);
    m = 0;
    for (size_t i = 0; i < n; i++) {
        bool equal = s->weights[i] == floor && n_equal > 0;
        n_equal -= equal;
        if (s->weights[i] > floor || equal) {
            s->weights[m] = s->weights[i];
            s->ids[m++] = s->ids[i];
        }
    }
    return m;
}

/* Those with at least min_p of the most probable one's probability (MinPLogitsWarper); its weight
 * is 1. */
static size_t keep_min_p(struct sampler *s, size_t n, double min_p) {
    if (min_p == 0)
        return n;
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->weights[i] >= min_p) {
            s->weights[m] = s->weights[i];
            s->ids[m++] = s->ids[i];
        }
    }
    return m;
}

static uint32_t draw(const struct sampler *s, size_t n, double uniform) {
    double target = uniform * total_weight(s->weights, n), sum = 0;
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (s->weights[i] > 0)
            last = i; // where rounding leaves the target at the very end
        sum += s->weights[i];
        if (sum > target)
            break;
    }
    return s->ids[last];
}

/* Copies the logits to s->scores; refuses those that are no numbers. */
static int take_logits(struct sampler *s, const float *logits, struct err *e) {
    uint32_t bad = 0;
    for (uint32_t id = 0; id < s->vocab_size; id++) {
        s->scores[id] = (double)logits[id];
        bad += logits[id] < INFINITY ? 0 : 1;
    }
    for (uint32_t id = 0; bad && id < s->vocab_size; id++)
        if (!(logits[id] < INFINITY))
            return err_set(e, EXIT_DATA, "the logit of token %" PRIu32 " is %s", id,
                           isnan(logits[id]) ? "NaN" : "+Inf");
    return 0;
}

/* The largest score, by eight maxima at once, and the first token that has it. */
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

int sampler_choose(struct sampler *s, const float *logits, const struct sample_params *p,
                   const struct sample_history *h, uint32_t *id, struct err *e) {
    if (take_logits(s, logits, e) != 0 || add_bias(s, p, e) != 0)
        return -1;
    penalise_repetition(s, p, h);
    penalise_presence(s, p, h);
    uint32_t best = best_of(s->scores, s->vocab_size);
    if (s->scores[best] == -INFINITY)
        return err_set(e, EXIT_DATA, "every logit is -Inf");
    *id = best;
    if (p->temp == 0)
        return 0;
    size_t n = weigh(s, p, s->scores[best]);
    n = keep_nucleus(s, n, p->top_p);
    n = keep_min_p(s, n, p->min_p);
    uint64_t sequence = p->own_seed ? 0 : h->sequence;
    *id = draw(s, n, sample_uniform(p->seed, sequence, h->n - h->n_prompt));
    return 0;
}
