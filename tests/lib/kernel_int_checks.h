/* The checks of every variant of the integer products: the bits are those of a plain model, in any
 * batch and with any number of threads.
 *
 * The model follows the words of matmul_int.h and quant(5) one input at a time, in 64-bit integers.
 * Nothing here has a tolerance. The including file defines _DEFAULT_SOURCE (MAP_ANONYMOUS).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_KERNEL_INT_CHECKS_H
#define TESTS_KERNEL_INT_CHECKS_H

#include "kernel_inputs.h"
#include "weights/panel_i4.h"

enum { SUPER = 256 };

/* A matrix as codes, and its panels in guarded memory. */
struct int_mat {
    struct mat w;
    struct guarded g;
    int32_t *values; // [n_out, n_in]: without the row's scale
    float *scales;   // [n_out]
};

/* How codes and x are chosen. */
enum fill { FILL_RANDOM, FILL_EXTREME };

static const enum mat_layout layouts[] = {MAT_I8, MAT_I4_32, MAT_I4_16, MAT_I4_64};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts };

static float random_scale(void) {
    return (1.5f + random_float()) * 0.01f;
}

/* Rows [first, first + n) of an i8 matrix as one panel. */
static void fill_i8(struct int_mat *m, size_t first, size_t n, enum fill fill, unsigned char *to) {
    const size_t n_in = m->w.n_in, blocks = (n_in + PANEL_I8_BLOCK - 1) / PANEL_I8_BLOCK;
    int8_t *codes = xcalloc(n * n_in, 1);
    uint8_t *scales = xcalloc(n * blocks, 1);
    for (size_t i = 0; i < n * blocks; i++)
        scales[i] = fill == FILL_EXTREME ? 255 : (uint8_t)random_bits();
    for (size_t i = 0; i < n * n_in; i++) {
        codes[i] = (int8_t)(fill == FILL_EXTREME ? (i / n_in % 2 ? 127 : -127)
                                                 : (int)(random_bits() % 255) - 127);
        m->values[first * n_in + i] =
            codes[i] * scales[i / n_in * blocks + i % n_in / PANEL_I8_BLOCK];
    }
    panel_i8_pack(to,
                  &(struct panel_i8_rows){codes, n_in, scales, blocks, m->scales + first, n, n_in});
    free(codes);
    free(scales);
}

static void fill_i4(struct int_mat *m, size_t first, size_t n, enum fill fill, unsigned char *to) {
    const size_t n_in = m->w.n_in, block = mat_i4_block(m->w.layout),
                 blocks = (n_in + block - 1) / block;
    const int8_t *table = panel_i4_table(block);
    uint8_t *codes = xcalloc(n * n_in, 1), *descriptors = xcalloc(n * blocks, 1);
    for (size_t i = 0; i < n * blocks; i++)
        descriptors[i] =
            (uint8_t)(fill == FILL_EXTREME ? 32u | (i % 2 ? 3u : 0u) << 6 : random_bits());
    for (size_t i = 0; i < n * n_in; i++) {
        codes[i] = (uint8_t)(fill == FILL_EXTREME ? i / n_in % 2 * 15 : random_bits() % 16);
        const uint8_t d = descriptors[i / n_in * blocks + i % n_in / block];
        m->values[first * n_in + i] = ((d & 31) - (d & 32)) * (table[codes[i]] + (d >> 6) * 4);
    }
    panel_i4_pack(to, &(struct panel_i4_rows){codes, n_in, descriptors, blocks, m->scales + first,
                                              n, n_in, block});
    free(codes);
    free(descriptors);
}

/* The panels end at a page that may not be touched. */
static struct int_mat int_mat_new(enum mat_layout layout, size_t n_out, size_t n_in,
                                  size_t unaligned, enum fill fill) {
    struct int_mat m = {.w = mat_panels("", layout, n_out, n_in),
                        .values = xcalloc(n_out * n_in, sizeof(int32_t)),
                        .scales = xcalloc(n_out, sizeof(float))};
    m.g = guarded_new(mat_bytes(&m.w), unaligned);
    m.w.data = m.g.p;
    for (size_t o = 0; o < n_out; o++)
        m.scales[o] = random_scale();
    for (size_t o = 0; o < n_out; o += PANEL_ROWS) {
        const size_t n = n_out - o < PANEL_ROWS ? n_out - o : PANEL_ROWS;
        (layout == MAT_I8 ? fill_i8 : fill_i4)(&m, o, n, fill, m.g.p + o * m.w.row_bytes);
    }
    return m;
}

static void int_mat_free(struct int_mat *m) {
    guarded_free(&m->g);
    free(m->values);
    free(m->scales);
}

/* ---- The model ---- */

/* One output: the sum over inputs, superblock by superblock. */
static float model_output(const struct int_mat *m, const float *x, size_t o, const float *bias) {
    float y = 0;
    for (size_t k = 0; k < m->w.n_in; k += SUPER) {
        const size_t n = m->w.n_in - k < SUPER ? m->w.n_in - k : SUPER;
        float most = 0;
        bool finite = true;
        for (size_t i = 0; i < n; i++) {
            most = fabsf(x[k + i]) > most ? fabsf(x[k + i]) : most;
            finite = finite && isfinite(x[k + i]);
        }
        float scale = most / 16256, inverse = 16256 / most;
        if (!finite)
            scale = NAN;
        if (most < 0x1p-100f && finite)
            scale = 0;
        int64_t sum = 0;
        for (size_t i = 0; i < n && scale > 0; i++)
            sum += (int64_t)lrintf(x[k + i] * inverse) * m->values[o * m->w.n_in + k + i];
        y += (float)sum * scale;
    }
    y *= m->scales[o];
    return bias ? y + bias[o] : y;
}

static bool same(float a, float b) {
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

/* ---- Checks, of the instruction set in use ---- */

static void multiply_int(struct pool *p, float *y, size_t ldy, const struct mat *w,
                         const float *bias, const float *x, size_t ldx, size_t n_rows,
                         bool precise) {
    void *scratch = xaligned(64, matmul_scratch(n_rows, w->n_in));
    multiply(p, y, ldy, w, bias, &(struct matmul_input){x, ldx, n_rows, precise, scratch});
    free(scratch);
}

static void compare(struct pool *p, enum mat_layout layout, size_t n_rows, size_t n_out,
                    size_t n_in, enum fill fill) {
    struct int_mat m = int_mat_new(layout, n_out, n_in, random_bits() % 2 ? 0 : 7, fill);
    const size_t ldx = n_in + random_bits() % 3, ldy = n_out + random_bits() % 3;
    struct guarded gx = guarded_new(((n_rows - 1) * ldx + n_in) * sizeof(float), 0);
    float *x = (void *)gx.p, *y = xcalloc(n_rows * ldy, sizeof *y), *bias = random_floats(n_out);
    for (size_t i = 0; i < (n_rows - 1) * ldx + n_in; i++)
        x[i] = fill == FILL_EXTREME ? (i / 7 % 3 == 0 ? -3.0f : 3.0f)
                                    : random_float() * (i % 97 == 0 ? 50.0f : 1.0f);
    if (fill == FILL_EXTREME) // every product of a row has the same sign
        for (size_t i = 0; i < n_in; i++)
            x[i] = 3;
    for (size_t i = 0; i < n_rows * ldy; i++)
        y[i] = 777;
    const bool with_bias = random_bits() % 2;
    multiply_int(p, y, ldy, &m.w, with_bias ? bias : NULL, x, ldx, n_rows, false);
    size_t wrong = 0;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t o = 0; o < ldy; o++)
            wrong +=
                !same(y[r * ldy + o],
                      o < n_out ? model_output(&m, x + r * ldx, o, with_bias ? bias : NULL) : 777);
    CHECK_MSG(wrong == 0, "%s: layout %d, [%zu, %zu] x [%zu, %zu]: %zu outputs differ",
              kernels_isa(), layout, n_rows, n_in, n_out, n_in, wrong);
    int_mat_free(&m);
    guarded_free(&gx);
    free(y);
    free(bias);
}

static inline void products_are_the_models(void) {
    struct pool *p = pool_new(2, NULL);
    for (size_t l = 0; l < N_LAYOUTS; l++) {
        for (size_t i = 0; i < (CHECKS_FEW ? 12 : 60); i++) {
            const size_t big = i % 10 == 0;
            compare(p, layouts[l], 1 + random_bits() % (big ? 300 : 17),
                    1 + random_bits() % (big ? 90 : 50), 1 + random_bits() % (big ? 900 : 600),
                    FILL_RANDOM);
        }
        for (size_t rows = 1; rows < 16; rows += rows < 7 ? 1 : 4)
            compare(p, layouts[l], rows, 33, 512 + 64 * (rows % 5), FILL_EXTREME);
    }
    pool_free(p);
}

/* Values that are no numbers reach the outputs of their row alone, and small ones are zero. */
static inline void odd_values_of_x(void) {
    enum { ROWS = 6, IN = 600, OUT = 40 };
    struct pool *p = pool_new(1, NULL);
    for (size_t l = 0; l < N_LAYOUTS; l++) {
        struct int_mat m = int_mat_new(layouts[l], OUT, IN, 0, FILL_RANDOM);
        float *x = random_floats(ROWS * IN), y[ROWS * OUT];
        x[IN + 5] = NAN;
        x[2 * IN + 300] = -INFINITY;
        for (size_t i = 0; i < IN; i++) {
            x[3 * IN + i] = i % 2 ? 0x1p-101f : -0x1p-140f;
            x[4 * IN + i] = 0x1p-100f;
            x[5 * IN + i] = i % 2 ? 3e30f : -0.0f;
        }
        multiply_int(p, y, OUT, &m.w, NULL, x, IN, ROWS, false);
        for (size_t r = 0; r < ROWS; r++)
            for (size_t o = 0; o < OUT; o++)
                CHECK_MSG(same(y[r * OUT + o], model_output(&m, x + r * IN, o, NULL)) &&
                              isnan(y[r * OUT + o]) == (r == 1 || r == 2),
                          "%s: layout %d, row %zu, output %zu is %g", kernels_isa(), layouts[l], r,
                          o, (double)y[r * OUT + o]);
        int_mat_free(&m);
        free(x);
    }
    pool_free(p);
}

/* What the cuts of one product share: x [CUT_ROWS, CUT_IN], a small matrix beside it, and pools of
 * 1 to 3 threads. */
enum { CUT_ROWS = CHECKS_FEW ? 20 : 150, CUT_OUT = 83, CUT_IN = 1100, CUT_PLAIN = 7 };
struct cuts {
    struct pool *pools[3];
    float *x, *alone, *batch, *others;
    float values[CUT_PLAIN * CUT_IN];
    struct mat plain;
    struct guarded g;
};

static inline struct cuts *cuts_new(void) {
    struct cuts *c = xcalloc(1, sizeof *c);
    for (size_t t = 0; t < 3; t++)
        c->pools[t] = pool_new(t + 1, NULL);
    c->x = random_floats(CUT_ROWS * CUT_IN);
    c->alone = xcalloc(CUT_ROWS * CUT_OUT, sizeof *c->alone);
    c->batch = xcalloc(CUT_ROWS * CUT_OUT, sizeof *c->batch);
    c->others = xcalloc(CUT_ROWS * CUT_PLAIN, sizeof *c->others);
    c->plain = mat_plain(NULL, DT_BF16, CUT_PLAIN, CUT_IN);
    c->g = random_mat(&c->plain, 0, c->values);
    return c;
}

static inline void cuts_free(struct cuts *c) {
    guarded_free(&c->g);
    for (size_t t = 0; t < 3; t++)
        pool_free(c->pools[t]);
    free(c->x);
    free(c->alone);
    free(c->batch);
    free(c->others);
    free(c);
}

/* A row of x times w [CUT_OUT, CUT_IN] has the same bits alone, in any batch and with any number of
 * threads; beside another product, whose outputs are no whole panels; and as a view. */
static inline void check_cuts(struct cuts *c, const struct mat *w, size_t which) {
    const struct mat view = mat_rows(w, 32, CUT_OUT - 32);
    const size_t bytes = CUT_ROWS * CUT_OUT * sizeof *c->batch;
    for (size_t r = 0; r < CUT_ROWS; r++)
        multiply_int(c->pools[0], c->alone + r * CUT_OUT, CUT_OUT, w, NULL, c->x + r * CUT_IN,
                     CUT_IN, 1, false);
    for (size_t t = 0; t < 3; t++)
        for (size_t n = 2; n <= CUT_ROWS; n += n < 6 ? 1 : 36) {
            memset(c->batch, 0xFF, bytes);
            void *scratch = xaligned(64, matmul_scratch(n, CUT_IN));
            for (size_t r = 0; r < CUT_ROWS; r += n) {
                float *y = c->batch + r * CUT_OUT;
                const struct matmul_product products[] = {
                    {.y = c->others + r * CUT_PLAIN, .ldy = CUT_PLAIN, .w = &c->plain},
                    {.y = y, .ldy = CUT_OUT, .w = w},
                    {.y = y + 32, .ldy = CUT_OUT, .w = &view}};
                matmul(c->pools[t], products, n % 2 ? 3 : 2,
                       &(struct matmul_input){c->x + r * CUT_IN, CUT_IN,
                                              CUT_ROWS - r < n ? CUT_ROWS - r : n, false, scratch});
            }
            CHECK_MSG(memcmp(c->alone, c->batch, bytes) == 0,
                      "%s: matrix %zu, %zu rows at once, %zu threads: other bits", kernels_isa(),
                      which, n, t + 1);
            free(scratch);
        }
}

static inline void same_bits_in_every_cut(void) {
    struct cuts *c = cuts_new();
    for (size_t l = 0; l < N_LAYOUTS; l++) {
        struct int_mat m = int_mat_new(layouts[l], CUT_OUT, CUT_IN, 0, FILL_RANDOM);
        check_cuts(c, &m.w, l);
        int_mat_free(&m);
    }
    cuts_free(c);
}

/* Gate and up of an FFN, of one layout or of two. */
static inline void gated_products(void) {
    enum { OUT = 100, IN = 320 };
    struct pool *p = pool_new(2, NULL);
    for (size_t n_rows = 1; n_rows < (CHECKS_FEW ? 4 : 200); n_rows += n_rows < 4 ? 1 : 97) {
        struct int_mat gate = int_mat_new(MAT_I4_16, OUT, IN, 0, FILL_RANDOM),
                       up = int_mat_new(MAT_I8, OUT, IN, 0, FILL_RANDOM);
        struct mat plain = mat_plain(NULL, DT_BF16, OUT, IN);
        float *values = xcalloc(OUT * IN, sizeof *values), *x = random_floats(n_rows * IN),
              *bias = random_floats(OUT), *y = xcalloc(n_rows * OUT, sizeof *y),
              *want = xcalloc(n_rows * OUT, sizeof *want),
              *want_up = xcalloc(n_rows * OUT, sizeof *want_up);
        struct guarded g = random_mat(&plain, 0, values);
        const struct mat *ups[] = {&up.w, &plain, &gate.w};
        void *scratch = xaligned(64, matmul_scratch(n_rows, IN));
        for (size_t i = 0; i < 3; i++) {
            const struct matmul_input in = {x, IN, n_rows, false, scratch};
            const struct matmul_product product = {
                .y = y, .ldy = OUT, .w = &gate.w, .act = ACT_SILU, .up = ups[i], .up_bias = bias};
            matmul(p, &product, 1, &in);
            multiply(p, want, OUT, &gate.w, NULL, &in);
            multiply(p, want_up, OUT, ups[i], bias, &in);
            rows_activate_mul(ACT_SILU, want, OUT, want_up, OUT, n_rows, OUT);
            CHECK_MSG(memcmp(y, want, n_rows * OUT * sizeof *y) == 0, "%s: %zu rows, up %zu",
                      kernels_isa(), n_rows, i);
        }
        int_mat_free(&gate);
        int_mat_free(&up);
        guarded_free(&g);
        free(values);
        free(x);
        free(bias);
        free(y);
        free(want);
        free(want_up);
        free(scratch);
    }
    pool_free(p);
}

/* --precise: the weights as mat_row gives them, in f32. */
static inline void precise_is_f32(void) {
    enum { ROWS = 20, OUT = 37, IN = 700 };
    struct pool *p = pool_new(2, NULL);
    for (size_t l = 0; l < N_LAYOUTS; l++) {
        struct int_mat m = int_mat_new(layouts[l], OUT, IN, 0, FILL_RANDOM);
        float *x = random_floats(ROWS * IN), *rows = xcalloc(OUT * IN, sizeof *rows), y[ROWS * OUT],
              want[ROWS * OUT];
        for (size_t o = 0; o < OUT; o++) {
            mat_row(&m.w, o, rows + o * IN);
            for (size_t k = 0; k < IN; k++)
                CHECK(rows[o * IN + k] == m.scales[o] * (float)m.values[o * IN + k]);
        }
        const struct mat f32 = mat_plain(rows, DT_F32, OUT, IN);
        multiply_int(p, y, OUT, &m.w, NULL, x, IN, ROWS, true);
        multiply_int(p, want, OUT, &f32, NULL, x, IN, ROWS, true);
        CHECK_MSG(memcmp(y, want, sizeof y) == 0, "%s: layout %d", kernels_isa(), layouts[l]);
        int_mat_free(&m);
        free(x);
        free(rows);
    }
    pool_free(p);
}

#endif
