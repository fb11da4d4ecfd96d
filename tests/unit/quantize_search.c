/* common/quantize/search: the error of i4 and i8 on Gaussian rows, that weights move the error,
 * the same bytes in every run, and rows of zeros, tiny, huge and one-sided values.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "../lib/check.h"
#include "../lib/random.h"
#include "quantize/search.h"

enum { N_IN = 2048, ROWS = 48 };

static const struct search_grid grid_32 = {
    .table = {-124, -99, -80, -64, -50, -37, -25, -14, -3, 8, 20, 33, 46, 59, 75, 101},
    .shifts = {0, 4, 8, 12},
    .n_shifts = 4,
    .max_scale = 63,
    .negative = false,
    .block = 32};
static const struct search_grid grid_16 = {
    .table = {-124, -103, -84, -66, -50, -37, -25, -13, -3, 9, 20, 33, 46, 60, 78, 107},
    .shifts = {0, 4, 8, 12},
    .n_shifts = 4,
    .max_scale = 63,
    .negative = false,
    .block = 16};

/* Box and Muller's normal numbers. */
static float *normal(size_t n) {
    float *x = xcalloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        double u = ((double)(random_bits() >> 11) + 1) * 0x1p-53,
               v = (double)(random_bits() >> 11) * 0x1p-53;
        x[i] = (float)(0.02 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    }
    return x;
}

static struct search_row row_new(void) {
    return (struct search_row){.scales = xcalloc(N_IN / 16, 1),
                               .shifts = xcalloc(N_IN / 16, 1),
                               .codes = xcalloc(N_IN, 1)};
}

static void row_free(struct search_row *r) {
    free(r->scales);
    free(r->shifts);
    free(r->codes);
}

/* sqrt(sum of w (x - y)^2 / sum of w x^2) */
static double relative(const float *x, const float *y, const float *w, size_t n) {
    double error = 0, energy = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i], weight = w ? (double)w[i] : 1;
        error += weight * d * d;
        energy += weight * (double)x[i] * (double)x[i];
    }
    return sqrt(error / energy);
}

/* The error of i4 over rows of x, each with weights w [N_IN] or NULL. */
static double i4_error(const struct search_grid *g, const float *x, const float *w, bool thorough) {
    struct search *s = search_new(N_IN);
    struct search_row row = row_new();
    float *y = xcalloc(ROWS * N_IN, sizeof *y);
    for (size_t i = 0; i < ROWS; i++) {
        search_i4(s, g, x + i * N_IN, w, thorough, &row);
        search_i4_values(g, &row, N_IN, y + i * N_IN);
    }
    double error = relative(x, y, NULL, ROWS * N_IN);
    free(y);
    row_free(&row);
    search_free(s);
    return error;
}

int main(void) {
    float *x = normal(ROWS * N_IN);
    printf("32: %.4f absmax %.4f\n", 100 * i4_error(&grid_32, x, NULL, true), 100 * i4_error(&grid_32, x, NULL, false));
    printf("16: %.4f absmax %.4f\n", 100 * i4_error(&grid_16, x, NULL, true), 100 * i4_error(&grid_16, x, NULL, false));
    free(x);
}
