/* common/quantize/search: the error of i4 and i8 on Gaussian rows, that weights move the error,
 * the same bytes in every run, and rows of zeros, tiny, huge and one-sided values.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>
#include <stdlib.h>

#include "../lib/check.h"
#include "base/mem.h"
#include "quantize/search.h"
#include "weights/panel_i4.h"

enum { N_IN = 2048, ROWS = 64 };

static struct search_grid grid_of(size_t block) {
    struct search_grid g = {
        .n_shifts = PANEL_I4_SHIFTS, .max_scale = PANEL_I4_MAX_M, .negative = true, .block = block};
    memcpy(g.table, panel_i4_table(block), sizeof g.table);
    for (int i = 0; i < PANEL_I4_SHIFTS; i++)
        g.shifts[i] = (int8_t)(i * PANEL_I4_SHIFT_STEP);
    return g;
}

static uint64_t random_state = 88172645463325252u;
static double random_uniform(void) { // (0, 1], of xorshift64
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return ((double)(random_state >> 11) + 1) * 0x1p-53;
}

/* Box and Muller's normal numbers. */
static float *normal(size_t n) {
    float *x = xcalloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++) {
        double u = random_uniform(), v = random_uniform();
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

/* i4 of all rows -> y. */
static void i4_values(size_t block, const float *x, const float *w, bool thorough, float *y) {
    const struct search_grid g = grid_of(block);
    struct search *s = search_new(N_IN);
    struct search_row row = row_new();
    for (size_t i = 0; i < ROWS; i++) {
        search_i4(s, &g, x + i * N_IN, w, thorough, &row);
        search_i4_values(&g, &row, N_IN, y + i * N_IN);
    }
    row_free(&row);
    search_free(s);
}

/* i8 of all rows -> y. */
static void i8_values(const float *x, bool thorough, float *y) {
    struct search *s = search_new(N_IN);
    struct search_i8_row row = {.m = xcalloc(N_IN / 32, 1), .codes = xcalloc(N_IN, 1)};
    for (size_t i = 0; i < ROWS; i++) {
        search_i8(s, x + i * N_IN, NULL, thorough, &row);
        for (size_t k = 0; k < N_IN; k++) {
            CHECK(row.codes[k] >= -127);
            y[i * N_IN + k] = row.scale * (float)(row.m[k / 32] * row.codes[k]);
        }
    }
    free(row.m);
    free(row.codes);
    search_free(s);
}

/* The errors of Gaussian rows, in percent, with half a percent more than was measured. */
static void gaussian_rows(void) {
    float *x = normal(ROWS * N_IN), *y = xcalloc(ROWS * N_IN, sizeof *y);
    static const struct {
        size_t block;
        bool thorough;
        double most;
    } cases[] = {{32, true, 6.96},  {16, true, 5.90}, {32, false, 8.11},
                 {16, false, 7.35}, {64, true, 7.96}, {64, false, 9.21}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        i4_values(cases[i].block, x, NULL, cases[i].thorough, y);
        double percent = 100 * relative(x, y, NULL, ROWS * N_IN);
        CHECK_MSG(percent < cases[i].most && percent > 0.9 * cases[i].most,
                  "blocks of %zu: %.3f %%", cases[i].block, percent);
    }
    for (int thorough = 0; thorough < 2; thorough++) {
        i8_values(x, thorough, y);
        double percent = 100 * relative(x, y, NULL, ROWS * N_IN);
        CHECK_MSG(percent < (thorough ? 0.52 : 0.55), "i8: %.3f %%", percent);
    }
    free(x);
    free(y);
}

/* The search's weighted error is less than that of the search without weights, by a lot where a few
 * inputs matter most. */
static void weights_count(void) {
    float *x = normal(ROWS * N_IN), *y = xcalloc(ROWS * N_IN, sizeof *y),
          *w = xcalloc(N_IN, sizeof *w), *all = xcalloc(ROWS * N_IN, sizeof *all);
    for (size_t i = 0; i < N_IN; i++)
        w[i] = i % 9 == 0 ? 1 : 0.01f;
    for (size_t i = 0; i < ROWS * N_IN; i++)
        all[i] = w[i % N_IN];
    i4_values(32, x, NULL, true, y);
    double plain = relative(x, y, all, ROWS * N_IN);
    i4_values(32, x, w, true, y);
    double weighted = relative(x, y, all, ROWS * N_IN);
    CHECK_MSG(weighted < 0.75 * plain, "%.4f, with weights %.4f", plain, weighted);
    free(x);
    free(y);
    free(w);
    free(all);
}

/* A power of two changes nothing but the scale, as long as the scale is a normal number. */
static void scaling_by_powers_of_two(void) {
    float *x = normal(ROWS * N_IN), *y = xcalloc(ROWS * N_IN, sizeof *y),
          *z = xcalloc(ROWS * N_IN, sizeof *z);
    static const int powers[] = {-100, 60, 120};
    i4_values(16, x, NULL, true, y);
    for (size_t p = 0; p < sizeof powers / sizeof *powers; p++) {
        for (size_t i = 0; i < ROWS * N_IN; i++)
            x[i] = ldexpf(x[i], powers[p]);
        i4_values(16, x, NULL, true, z);
        size_t n_different = 0;
        for (size_t i = 0; i < ROWS * N_IN; i++) {
            x[i] = ldexpf(x[i], -powers[p]);
            n_different += ldexpf(z[i], -powers[p]) != y[i];
        }
        CHECK_INT(n_different, 0);
    }
    free(x);
    free(y);
    free(z);
}

/* Rows that are not like a model's: what comes out is finite, zeros stay zeros, and no value is
 * farther off than the row's largest. */
static void odd_rows(void) {
    enum { KINDS = 7 };
    float *x = xcalloc(ROWS * N_IN, sizeof *x), *y = xcalloc(ROWS * N_IN, sizeof *y);
    for (size_t i = 0; i < ROWS * N_IN; i++) {
        size_t row = i / N_IN, k = i % N_IN;
        const float values[KINDS] = {0,
                                     k == 5 ? 1.0f : 0,
                                     k == 77 ? 1e37f : (float)random_uniform() - 0.5f,
                                     1e-35f * (float)(k % 3),
                                     -(float)random_uniform(),
                                     0.25f,
                                     k % 2 ? 1e37f : -1e37f};
        x[i] = values[row % KINDS];
    }
    for (int kind = 0; kind < 6; kind++) {
        if (kind < 4)
            i4_values(kind % 2 ? 16 : 32, x, NULL, kind < 2, y);
        else
            i8_values(x, kind == 4, y);
        for (size_t r = 0; r < ROWS; r++) {
            float most = 0, off = 0;
            for (size_t k = 0; k < N_IN; k++) {
                float d = fabsf(y[r * N_IN + k] / 2 - x[r * N_IN + k] / 2);
                most = fmaxf(most, fabsf(x[r * N_IN + k]));
                off = d > off || isnan(d) ? d : off;
            }
            CHECK_MSG(off <= most / 4, "kind %d, row %zu: %g of %g", kind, r % KINDS, (double)off,
                      (double)most);
        }
    }
    free(x);
    free(y);
}

/* The last block of a row may be short, and what is past its end is not read or written. */
static void lengths(void) {
    float *x = normal(N_IN);
    for (size_t n = 1; n < 70; n++) {
        const struct search_grid g = grid_of(n % 3 == 0 ? 64 : n % 2 ? 32 : 16);
        struct search *s = search_new(n);
        struct search_row row = {.scales = xcalloc(search_blocks_of(&g, n), 1),
                                 .shifts = xcalloc(search_blocks_of(&g, n), 1),
                                 .codes = xcalloc(n, 1)};
        struct search_i8_row i8 = {.m = xcalloc(search_i8_blocks(n), 1), .codes = xcalloc(n, 1)};
        float *exact = xcalloc(n, sizeof *exact), *y = xcalloc(n, sizeof *y);
        memcpy(exact, x, n * sizeof *x);
        search_i4(s, &g, exact, NULL, true, &row);
        search_i4_values(&g, &row, n, y);
        CHECK(relative(exact, y, NULL, n) < 0.12);
        search_i8(s, exact, NULL, true, &i8);
        CHECK_INT(i8.m[0] > 0, 1);
        row_free(&row);
        free(i8.m);
        free(i8.codes);
        free(exact);
        free(y);
        search_free(s);
    }
    free(x);
}

int main(void) {
    RUN(gaussian_rows);
    RUN(weights_count);
    RUN(scaling_by_powers_of_two);
    RUN(odd_rows);
    RUN(lengths);
    return check_done();
}
