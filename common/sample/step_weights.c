/* The sampling chain's steps on weights: see step.h.
 *
 * No step sorts the vocabulary. Top-k keeps a heap of k scores. Top-p finds the smallest weight of
 * the nucleus by partition. Both then drop the other tokens in one pass. Loops over the vocabulary
 * have no branch where they compute, so that compilers vectorise them. Sums run in the order of
 * ids.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "sample/step.h"

/* e^x = 2^k e^r with |r| <= ln(2)/2. The Taylor series up to r^13 differs from e^r by less than
 * 1e-17. Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits. */
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

/* The k-th largest score; -Inf if k is 0 or the whole vocabulary. */
static double kth_score(struct sample_candidates *c, uint64_t k) {
    if (k == 0 || k >= c->vocab_size)
        return -INFINITY;
    double *heap = c->scratch; // the k largest so far, the smallest of them first
    for (size_t i = 0; i < k; i++)
        heap[i] = -INFINITY;
    for (uint32_t id = 0; id < c->vocab_size; id++) {
        double score = c->scores[id];
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

/* Collects the candidates. As TopKLogitsWarper, it keeps all tokens whose score equals the k-th.
 * weights hold score - largest until sample_step_temp. */
void sample_step_top_k(struct sample_candidates *c, const struct sample_params *p,
                       const struct sample_history *h) {
    (void)h;
    double kth = kth_score(c, p->top_k);
    size_t n = 0;
    for (uint32_t id = 0; id < c->vocab_size; id++) {
        c->weights[n] = c->scores[id] - c->largest;
        c->ids[n] = id;
        n += c->scores[id] >= kth && c->scores[id] > -INFINITY;
    }
    c->n = n;
}

void sample_step_temp(struct sample_candidates *c, const struct sample_params *p,
                      const struct sample_history *h) {
    (void)h;
    double temp = p->temp, *weights = c->weights;
    size_t n = c->n;
    for (size_t i = 0; i < n; i++)
        weights[i] = exp_of(weights[i] / temp);
}

double sample_total_weight(const double *weights, size_t n) {
    double total = 0;
    for (size_t i = 0; i < n; i++)
        total += weights[i];
    return total;
}

static double median(double a, double b, double c) {
    if (a < b)
        return b < c ? b : a < c ? c : a;
    return a < c ? a : b < c ? c : b;
}

/* The smallest weight that is needed if weights w [n] are summed, largest first, until they reach
 * `target`; *n_equal is how many of that weight are needed. Reorders w.
 *
 * It partitions w into heavier, equal and lighter than a pivot, and continues in the part where the
 * sum reaches the target. */
static double nucleus_floor(double *w, size_t n, double target, size_t *n_equal) {
    double mass = 0; // of the weights that are known to be needed
    size_t begin = 0, end = n;
    for (;;) {
        double a = w[begin], b = w[begin + (end - begin) / 2], c = w[end - 1];
        double pivot = median(a, b, c), heavier = 0;
        // w[begin .. high) is heavier, w[high .. at) equal, w[low .. end) lighter.
        size_t high = begin, at = begin, low = end;
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

/* Drops candidate i unless keep: the next one overwrites it. */
static size_t keep_if(struct sample_candidates *c, size_t n, size_t i, bool keep) {
    if (keep) {
        c->weights[n] = c->weights[i];
        c->ids[n] = c->ids[i];
    }
    return n + keep;
}

/* Keeps the nucleus: the fewest candidates, heaviest first, that have top_p of the mass (Holtzman
 * et al. 2020). As TopPLogitsWarper, but of equal weights it keeps the lower ids.
 *
 * Candidates below the average weight of the mass outside the nucleus weigh less than that mass
 * together. So they are not in the nucleus, and the search leaves them out. */
void sample_step_top_p(struct sample_candidates *c, const struct sample_params *p,
                       const struct sample_history *h) {
    (void)h;
    if (p->top_p >= 1 || c->n < 2)
        return;
    double total = sample_total_weight(c->weights, c->n);
    double outside = (1 - p->top_p) * total / (double)c->n;
    size_t m = 0, n_equal;
    for (size_t i = 0; i < c->n; i++) {
        c->scratch[m] = c->weights[i];
        m += c->weights[i] >= outside;
    }
    double floor = nucleus_floor(c->scratch, m, p->top_p * total, &n_equal);
    m = 0;
    for (size_t i = 0; i < c->n; i++) {
        bool equal = c->weights[i] == floor && n_equal > 0;
        n_equal -= equal;
        m = keep_if(c, m, i, c->weights[i] > floor || equal);
    }
    c->n = m;
}

/* Keeps candidates with at least min_p of the largest probability. As MinPLogitsWarper. The largest
 * weight is 1. */
void sample_step_min_p(struct sample_candidates *c, const struct sample_params *p,
                       const struct sample_history *h) {
    (void)h;
    if (p->min_p == 0)
        return;
    size_t m = 0;
    for (size_t i = 0; i < c->n; i++)
        m = keep_if(c, m, i, c->weights[i] >= p->min_p);
    c->n = m;
}
