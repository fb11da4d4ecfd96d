/* Products of E4M3 weights, by every variant: against double arithmetic, and the same bits for a
 * row alone and among others, for views of rows and any number of threads.
 *
 * The bound is that of kernel_checks.h. One more rounding for the scale of a group, and on AMX x is
 * the sum of two bf16, off by 2^-16. The including file defines _DEFAULT_SOURCE.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_KERNEL_FP8_CHECKS_H
#define TESTS_KERNEL_FP8_CHECKS_H

#include "kernel_inputs.h"
#include "weights/half.h"

struct fp8_mat {
    struct mat w;
    struct mat_quant q;
    struct guarded g;
    float *scales;
};

/* Random codes without NaN. group 0: a row. */
static struct fp8_mat *fp8_mat_new(size_t n_out, size_t n_in, size_t group, size_t block_rows) {
    struct fp8_mat *m = xcalloc(1, sizeof *m);
    group = group ? group : n_in;
    const size_t n_groups = (n_in + group - 1) / group;
    m->g = guarded_new(n_out * n_in, 0);
    for (size_t i = 0; i < n_out * n_in; i++) {
        const uint8_t code = (uint8_t)random_bits();
        m->g.p[i] = (code & 0x7F) == 0x7F ? 0 : code;
    }
    m->scales = random_floats((n_out + block_rows - 1) / block_rows * n_groups);
    m->q = (struct mat_quant){.group = group,
                              .n_groups = n_groups,
                              .scale_type = DT_F32,
                              .scales = m->scales,
                              .factor = 1,
                              .block_rows = block_rows};
    m->w = (struct mat){.layout = MAT_F8,
                        .n_out = n_out,
                        .n_in = n_in,
                        .row_bytes = n_in,
                        .data = m->g.p,
                        .quant = &m->q};
    return m;
}
static void fp8_mat_free(struct fp8_mat *m) {
    guarded_free(&m->g);
    free(m->scales);
    free(m);
}

static void fp8_against_double(const struct fp8_mat *m, const float *y, const float *x,
                               const float *bias, size_t n_rows) {
    const size_t n_in = m->w.n_in, n_out = m->w.n_out;
    const bool amx = strncmp(kernels_isa(), "amx", 3) == 0;
    const double unit = (double)(n_in + 4) * 0x1p-24 + (amx ? 0x1p-16 : 0);
    float *row = xcalloc(n_in, sizeof *row);
    double worst = 0;
    for (size_t o = 0; o < n_out; o++) {
        mat_row(&m->w, o, row);
        for (size_t r = 0; r < n_rows; r++) {
            double sum = (double)bias[o], magnitude = fabs(sum);
            for (size_t k = 0; k < n_in; k++) {
                const double product = (double)x[r * n_in + k] * (double)row[k];
                sum += product;
                magnitude += fabs(product);
            }
            const double off = fabs(sum - (double)y[r * n_out + o]) / (unit * magnitude + 1e-30);
            worst = off > worst || off != off ? off : worst;
        }
    }
    CHECK_MSG(worst <= 1, "%s: %zu rows, [%zu, %zu], group %zu: off by %g times the bound",
              kernels_isa(), n_rows, n_out, n_in, m->q.group, worst);
    free(row);
}

/* Rows alone, and outputs of a view, have the bits of y. */
static void fp8_same_bits(const struct fp8_mat *m, const float *y, const float *x,
                          const float *bias, size_t n_rows, void *scratch) {
    const size_t n_in = m->w.n_in, n_out = m->w.n_out, first = random_bits() % n_out;
    struct pool *p = pool_new(1, NULL);
    const struct mat view = mat_rows(&m->w, first, n_out - first);
    float *one = xcalloc(n_out, sizeof *one);
    for (size_t r = 0; r < n_rows; r += 1 + n_rows / 5) {
        const struct matmul_input in = {x + r * n_in, n_in, 1, false, scratch};
        multiply(p, one, n_out, &m->w, bias, &in);
        CHECK_MSG(memcmp(one, y + r * n_out, n_out * sizeof *one) == 0,
                  "%s: row %zu of %zu alone, [%zu, %zu], group %zu: other bits", kernels_isa(), r,
                  n_rows, n_out, n_in, m->q.group);
        multiply(p, one, n_out - first, &view, bias + first, &in);
        CHECK_MSG(memcmp(one, y + r * n_out + first, (n_out - first) * sizeof *one) == 0,
                  "%s: outputs from %zu on, [%zu, %zu]: other bits", kernels_isa(), first, n_out,
                  n_in);
    }
    pool_free(p);
    free(one);
}

/* Blocks of the hub's formats, a scale a row, and groups that end inside a tile. */
static inline void fp8_is_right(void) {
    static const struct {
        size_t group, block_rows;
    } blocks[] = {{128, 128}, {0, 1}, {0, 4096}, {64, 3}, {32, 16}, {100, 2}, {1024, 7}};
    for (size_t i = 0; i < (CHECKS_FEW ? 21 : 70); i++) {
        const bool big = i % 5 == 0;
        const size_t b = i % 7, n_rows = 1 + random_bits() % (big ? 90 : 20),
                     n_out = 1 + random_bits() % (big ? 140 : 40),
                     n_in = 1 + random_bits() % (big ? 1500 : 300);
        struct fp8_mat *m = fp8_mat_new(n_out, n_in, blocks[b].group, blocks[b].block_rows);
        float *x = random_floats(n_rows * n_in), *bias = random_floats(n_out),
              *y = xcalloc(n_rows * n_out, sizeof *y);
        void *scratch = xaligned(64, matmul_scratch(n_rows, n_in));
        struct pool *p = pool_new(2, NULL);
        multiply(p, y, n_out, &m->w, bias, &(struct matmul_input){x, n_in, n_rows, false, scratch});
        pool_free(p);
        fp8_against_double(m, y, x, bias, n_rows);
        fp8_same_bits(m, y, x, bias, n_rows, scratch);
        fp8_mat_free(m);
        free(x);
        free(bias);
        free(y);
        free(scratch);
    }
}

#endif
