/* Statistics of one tensor's values: see stats.h.
 *
 * Values are read in blocks. Mean and squared deviations of a block take two passes. Blocks are
 * merged by the formula of Chan, Golub and LeVeque (Updating Formulae and a Pairwise Algorithm for
 * Computing Sample Variances, 1979). So the result stays accurate for billions of values, and for a
 * mean far larger than the deviation.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "weights/stats.h"

#include <math.h>

enum { BLOCK = 1024 };

/* Moves the finite values of v[0..n) to its front and counts the others; returns how many are
 * finite. */
static size_t keep_finite(double *v, size_t n, struct stats_tensor *s) {
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        s->n_nan += isnan(v[i]) != 0;
        s->n_inf += isinf(v[i]) != 0;
        v[kept] = v[i];
        kept += isfinite(v[i]) != 0;
    }
    return kept;
}

/* Merges n finite values into s; *m2 is the sum of squared deviations so far. */
static void merge_block(struct stats_tensor *s, double *m2, const double *v, size_t n) {
    double sum = 0, block_m2 = 0;
    for (size_t i = 0; i < n; i++) {
        s->min = v[i] < s->min ? v[i] : s->min;
        s->max = v[i] > s->max ? v[i] : s->max;
        sum += v[i];
    }
    double count = (double)n, before = (double)s->n_finite, mean = sum / count;
    for (size_t i = 0; i < n; i++)
        block_m2 += (v[i] - mean) * (v[i] - mean);
    double delta = mean - s->mean, share = count / (before + count);
    s->mean += delta * share;
    *m2 += block_m2 + delta * delta * before * share;
    s->n_finite += n;
}

void stats_tensor(struct stats_tensor *s, const struct tensor *t) {
    double v[BLOCK], m2 = 0;
    *s = (struct stats_tensor){.min = INFINITY, .max = -INFINITY};
    for (uint64_t at = 0; at < t->n_elements; at += BLOCK) {
        size_t n = t->n_elements - at < BLOCK ? (size_t)(t->n_elements - at) : BLOCK;
        dtype_values(t->dtype, t->data, (size_t)at, n, v);
        n = keep_finite(v, n, s);
        if (n > 0)
            merge_block(s, &m2, v, n);
    }
    if (s->n_finite > 0)
        s->std = sqrt(m2 / (double)s->n_finite);
    else
        s->min = s->max = s->mean = s->std = NAN;
}
