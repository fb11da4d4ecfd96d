/* The checks of every variant of the products of MAT_G4, MAT_G8, MAT_K4 and MAT_K8: the bits are
 * those of a plain model, in any batch, view and with any number of threads.
 *
 * The model follows the words of mat.h and matmul_group_tmpl.h one input at a time, in 64-bit
 * integers. Nothing here has a tolerance. The including file defines _DEFAULT_SOURCE.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_KERNEL_GROUP_CHECKS_H
#define TESTS_KERNEL_GROUP_CHECKS_H

#include "kernel_int_checks.h"
#include "weights/mat_quant.h"

/* What differs between formats of the hub. */
struct group_case {
    enum mat_layout layout;
    size_t group; // 0: a row
    enum dtype scales;
    bool zeros, biases, order, e2m1; // e2m1: the table of FP4
};

static const struct group_case group_cases[] = {
    {MAT_G4, 128, DT_F16, true, false, false, false}, // GPTQ, AWQ
    {MAT_G4, 32, DT_F16, true, false, true, false},   // act-order
    {MAT_G4, 0, DT_BF16, false, false, false, false}, // compressed-tensors, a scale a row
    {MAT_G4, 64, DT_BF16, false, true, false, false}, // MLX
    {MAT_G4, 16, DT_F16, false, false, false, true},  // NVFP4
    {MAT_G4, 32, DT_BF16, false, false, false, true}, // MXFP4
    {MAT_G4, 48, DT_F32, true, false, true, false},   // groups that superblocks cut
    {MAT_G4, 24, DT_F32, true, true, false, false},   // no whole steps: widened
    {MAT_G8, 0, DT_F32, false, false, false, false},  // int8, a scale a row
    {MAT_G8, 64, DT_F16, true, false, true, false},   // GPTQ
    {MAT_G8, 64, DT_BF16, false, true, false, false}, // MLX
    {MAT_G8, 512, DT_F32, true, false, false, false},
    {MAT_K4, 32, DT_F16, false, true, false, false},  // Q4_K
    {MAT_K8, 16, DT_F16, false, false, false, false}, // Q6_K
};
enum { N_GROUP_CASES = sizeof group_cases / sizeof *group_cases };

struct group_mat {
    struct mat w;
    struct mat_quant q;
    struct guarded g;
    struct group_case c;
    int32_t *values;        // [n_out, n_in] code - zero, in the panels' order
    float *scales, *biases; // [n_out, n_groups]
    void *parts[16];
    size_t n_parts;
};

static void *group_part(struct group_mat *m, size_t n) {
    return m->parts[m->n_parts++] = xcalloc(n ? n : 1, 1);
}

/* n random values of a type, as f32 in `values`, of which the first `real` are not zero. */
static void *group_scales(struct group_mat *m, enum dtype t, size_t n, float *values) {
    uint16_t *half = group_part(m, n * sizeof *half);
    float *whole = group_part(m, n * sizeof *whole);
    for (size_t i = 0; i < n; i++) {
        whole[i] = random_float() * 0.01f;
        half[i] = t == DT_F16 ? f16_from_f32(whole[i]) : bf16_from_f32(whole[i]);
        values[i] = t == DT_F32   ? whole[i]
                    : t == DT_F16 ? f16_value(half[i])
                                  : f32_from_bf16(half[i]);
    }
    return t == DT_F32 ? (void *)whole : (void *)half;
}

/* The scales and biases of a layout with two levels. */
static void group_levels(struct group_mat *m, size_t panels, float *scales, float *biases) {
    struct mat_quant *q = &m->q;
    const size_t supers = (m->w.n_in + MAT_SUPER - 1) / MAT_SUPER, n = panels * supers * MAT_PANEL,
                 n_small = panels * q->n_groups * MAT_PANEL;
    float *d = group_part(m, n * sizeof *d), *dmin = group_part(m, n * sizeof *dmin);
    int8_t *steps = group_part(m, n_small);
    uint8_t *lows = group_part(m, n_small);
    q->d = group_scales(m, DT_F16, n, d);
    q->dmin = m->c.biases ? group_scales(m, DT_F16, n, dmin) : NULL;
    q->steps = steps;
    q->lows = m->c.biases ? lows : NULL;
    for (size_t i = 0; i < n_small; i++) {
        const size_t p = i / (q->n_groups * MAT_PANEL), g = i / MAT_PANEL % q->n_groups,
                     super = (p * supers + g * q->group / MAT_SUPER) * MAT_PANEL + i % MAT_PANEL;
        steps[i] = (int8_t)random_bits();
        lows[i] = (uint8_t)random_bits();
        scales[i] = d[super] * (float)steps[i];
        biases[i] = -(dmin[super] * (float)lows[i]);
    }
}

static void group_order(struct group_mat *m) {
    uint32_t *order = group_part(m, m->w.n_in * sizeof *order);
    for (uint32_t k = 0; k < m->w.n_in; k++) {
        const size_t other = random_bits() % (k + 1);
        order[k] = order[other];
        order[other] = k;
    }
    m->q.order = order;
}

/* The panels end at a page that may not be touched. */
static struct group_mat *group_mat_new(const struct group_case *c, size_t n_out, size_t n_in) {
    struct group_mat *m = xcalloc(1, sizeof *m);
    const bool halves = mat_has_halves(c->layout);
    const size_t bytes = mat_panel_bytes(c->layout, n_in),
                 panels = (n_out + MAT_PANEL - 1) / MAT_PANEL, group = c->group ? c->group : n_in,
                 groups = (n_in + group - 1) / group, n = panels * groups * MAT_PANEL;
    static const int8_t e2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
    m->c = *c;
    m->q = (struct mat_quant){.group = group,
                              .n_groups = groups,
                              .scale_type = c->scales,
                              .factor = c->e2m1 ? 0.5f : 1,
                              .zero = halves ? 0 : 100};
    m->w = (struct mat){.layout = c->layout,
                        .n_out = n_out,
                        .n_in = n_in,
                        .row_bytes = bytes / MAT_PANEL,
                        .quant = &m->q};
    for (int i = 0; i < 16; i++)
        m->q.table[i] = (int8_t)(c->e2m1 ? e2m1[i] : i - (c->zeros ? 0 : 8));
    float *scales = group_part(m, n * sizeof *scales), *biases = group_part(m, n * sizeof *biases);
    uint8_t *zeros = group_part(m, n);
    if (c->layout == MAT_K4 || c->layout == MAT_K8)
        group_levels(m, panels, scales, biases);
    else
        m->q.scales = group_scales(m, c->scales, n, scales);
    if (c->biases && !m->q.steps)
        m->q.biases = group_scales(m, c->scales, n, biases);
    for (size_t i = 0; i < n; i++)
        zeros[i] = (uint8_t)(random_bits() % (halves ? 17 : 256));
    m->q.zeros = c->zeros ? zeros : NULL;
    if (c->order)
        group_order(m);
    m->values = group_part(m, n_out * n_in * sizeof *m->values);
    m->scales = xcalloc(n_out * groups, sizeof *m->scales);
    m->biases = xcalloc(n_out * groups, sizeof *m->biases);
    m->g = guarded_new(panels * bytes, 0);
    m->w.data = m->g.p;
    uint8_t *codes = xcalloc(n_out, n_in);
    for (size_t o = 0; o < n_out; o++)
        for (size_t k = 0; k < n_in; k++) {
            const size_t g = k / group,
                         at = (o / MAT_PANEL * groups + g) * MAT_PANEL + o % MAT_PANEL;
            const uint8_t code = (uint8_t)(random_bits() % (halves ? 16 : 256));
            codes[o * n_in + k] = code;
            m->values[o * n_in + k] =
                (halves ? m->q.table[code] : code) - (c->zeros ? zeros[at] : m->q.zero);
            m->scales[o * groups + g] = scales[at] * m->q.factor;
            m->biases[o * groups + g] = biases[at];
        }
    for (size_t p = 0; p < panels; p++) {
        const size_t left = n_out - p * MAT_PANEL;
        mat_panel_store(c->layout, m->g.p + p * bytes, codes + p * MAT_PANEL * n_in, n_in,
                        left < MAT_PANEL ? left : MAT_PANEL, n_in, 0);
    }
    free(codes);
    return m;
}

static void group_mat_free(struct group_mat *m) {
    guarded_free(&m->g);
    for (size_t i = 0; i < m->n_parts; i++)
        free(m->parts[i]);
    free(m->scales);
    free(m->biases);
    free(m);
}

/* ---- The model ---- */

/* codes [n] of n <= 256 values, and their scale. */
static float model_codes(int32_t *codes, const float *x, size_t n) {
    float most = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        finite = finite && isfinite(x[i]);
    }
    const bool none = !finite || most < 0x1p-100f;
    for (size_t i = 0; i < n; i++)
        codes[i] = none ? 0 : (int32_t)lrintf(x[i] * (16256 / most));
    return !finite ? NAN : none ? 0 : most / 16256;
}

static float group_output(const struct group_mat *m, const float *x, size_t o, const float *bias) {
    const size_t n_in = m->w.n_in, group = m->q.group, groups = m->q.n_groups;
    float y = 0;
    for (size_t k = 0; k < n_in; k += SUPER) {
        const size_t n = n_in - k < SUPER ? n_in - k : SUPER;
        float ordered[SUPER];
        int32_t codes[SUPER];
        for (size_t i = 0; i < n; i++)
            ordered[i] = x[m->q.order ? m->q.order[k + i] : k + i];
        const float sx = model_codes(codes, ordered, n);
        for (size_t i = 0; i < n;) {
            const size_t g = (k + i) / group;
            int64_t sum = 0, sum_x = 0;
            for (; i < n && (k + i) / group == g; i++) {
                sum += (int64_t)codes[i] * m->values[o * n_in + k + i];
                sum_x += codes[i];
            }
            y += (float)sum * (m->scales[o * groups + g] * sx);
            if (m->c.biases)
                y += m->biases[o * groups + g] * ((float)sum_x * sx);
        }
    }
    return bias ? y + bias[o] : y;
}

/* Whether a kernel multiplies the codes. */
static bool group_is_fast(const struct group_mat *m) {
    return m->q.n_groups == 1 || m->q.group % 16 == 0;
}

/* ---- Checks, of the instruction set in use ---- */

static void compare_groups(struct pool *p, const struct group_case *c, size_t n_rows, size_t n_out,
                           size_t n_in) {
    struct group_mat *m = group_mat_new(c, n_out, n_in);
    const size_t ldx = n_in + random_bits() % 3, ldy = n_out + random_bits() % 3;
    float *x = random_floats(n_rows * ldx), *y = xcalloc(n_rows * ldy, sizeof *y),
          *precise = xcalloc(n_rows * ldy, sizeof *precise), *bias = random_floats(n_out);
    for (size_t i = 0; i < n_rows * ldx; i++)
        x[i] *= i % 97 == 0 ? 50.0f : 1.0f;
    if (n_in > 40 && n_rows > 2) {
        x[ldx + 37] = NAN;
        memset(x + 2 * ldx, 0, n_in * sizeof *x);
    }
    const float *with = random_bits() % 2 ? bias : NULL;
    multiply_int(p, y, ldy, &m->w, with, x, ldx, n_rows, false);
    multiply_int(p, precise, ldy, &m->w, with, x, ldx, n_rows, true);
    size_t wrong = 0;
    for (size_t i = 0; i < n_rows * n_out; i++) {
        const size_t r = i / n_out, o = i % n_out;
        wrong += !same(y[r * ldy + o], group_is_fast(m) ? group_output(m, x + r * ldx, o, with)
                                                        : precise[r * ldy + o]);
    }
    CHECK_MSG(wrong == 0, "%s: case %zu, [%zu, %zu] x [%zu, %zu]: %zu outputs differ",
              kernels_isa(), (size_t)(c - group_cases), n_rows, n_in, n_out, n_in, wrong);
    group_mat_free(m);
    free(x);
    free(y);
    free(precise);
    free(bias);
}

static inline void groups_are_the_models(void) {
    struct pool *p = pool_new(2, NULL);
    for (size_t c = 0; c < N_GROUP_CASES; c++)
        for (size_t i = 0; i < (CHECKS_FEW ? 8 : 40); i++) {
            const bool big = i % 10 == 0;
            compare_groups(p, &group_cases[c], 1 + random_bits() % (big ? 200 : 17),
                           1 + random_bits() % (big ? 90 : 50),
                           1 + random_bits() % (big ? 1100 : 600));
        }
    pool_free(p);
}

/* Sums as large as they get: every code, zero point and x at its limit. */
static inline void largest_sums_of_groups(void) {
    enum { OUT = 32, IN = 512, ROWS = 15 };
    struct pool *p = pool_new(1, NULL);
    const struct group_case c = {MAT_G8, 512, DT_F32, true, false, false, false};
    for (int high = 0; high < 2; high++) {
        struct group_mat *m = group_mat_new(&c, OUT, IN);
        memset(m->g.p, high ? 255 : 0, OUT * IN);
        for (size_t i = 0; i < OUT; i++)
            ((uint8_t *)(uintptr_t)m->q.zeros)[i] = i % 2 ? 255 : 0;
        for (size_t i = 0; i < OUT * IN; i++)
            m->values[i] = (high ? 255 : 0) - m->q.zeros[i / IN];
        float x[ROWS * IN], y[ROWS * OUT];
        for (size_t i = 0; i < ROWS * IN; i++)
            x[i] = i / IN == 1 ? -3.0f : 3.0f;
        for (size_t rows = 3; rows <= ROWS; rows += ROWS - 3) {
            multiply_int(p, y, OUT, &m->w, NULL, x, IN, rows, false);
            for (size_t i = 0; i < rows * OUT; i++)
                CHECK_MSG(same(y[i], group_output(m, x + i / OUT * IN, i % OUT, NULL)),
                          "%s: output %zu of %zu rows", kernels_isa(), i, rows);
        }
        group_mat_free(m);
    }
    pool_free(p);
}

static inline void groups_same_bits_in_every_cut(void) {
    struct cuts *c = cuts_new();
    for (size_t i = 0; i < N_GROUP_CASES; i++) {
        struct group_mat *m = group_mat_new(&group_cases[i], CUT_OUT, CUT_IN);
        check_cuts(c, &m->w, i);
        // A view that begins inside a panel is widened.
        const struct mat inside = mat_rows(&m->w, 5, CUT_OUT - 5);
        float y[CUT_OUT], want[CUT_OUT];
        multiply_int(c->pools[1], y, CUT_OUT, &inside, NULL, c->x, CUT_IN, 1, false);
        multiply_int(c->pools[1], want, CUT_OUT, &m->w, NULL, c->x, CUT_IN, 1, true);
        CHECK(memcmp(y, want + 5, (CUT_OUT - 5) * sizeof *y) == 0);
        group_mat_free(m);
    }
    cuts_free(c);
}

/* Products of one job whose inputs have orders of their own, some of them gated. */
static inline void products_of_many_orders(void) {
    enum { OUT = 40, IN = 320, MATS = 5 };
    struct pool *p = pool_new(2, NULL);
    const struct group_case c = {MAT_G4, 32, DT_F16, true, false, true, false};
    for (size_t n_rows = 1; n_rows < (CHECKS_FEW ? 4 : 60); n_rows += n_rows < 4 ? 1 : 25) {
        struct group_mat *m[MATS];
        float *x = random_floats(n_rows * IN), *y = xcalloc(MATS * n_rows * OUT, sizeof *y),
              *want = xcalloc(n_rows * OUT, sizeof *want), *up = xcalloc(n_rows * OUT, sizeof *up);
        struct matmul_product products[MATS - 1];
        void *scratch = xaligned(64, matmul_scratch(n_rows, IN));
        const struct matmul_input in = {x, IN, n_rows, false, scratch};
        for (size_t i = 0; i < MATS; i++)
            m[i] = group_mat_new(&c, OUT, IN);
        for (size_t i = 0; i < MATS - 1; i++)
            products[i] = (struct matmul_product){
                .y = y + i * n_rows * OUT, .ldy = OUT, .w = &m[i]->w, .act = ACT_NONE};
        products[3].act = ACT_SILU;
        products[3].up = &m[4]->w;
        matmul(p, products, MATS - 1, &in);
        for (size_t i = 0; i < MATS - 1; i++) {
            multiply(p, want, OUT, &m[i]->w, NULL, &in);
            if (products[i].up) {
                multiply(p, up, OUT, products[i].up, NULL, &in);
                rows_activate_mul(ACT_SILU, want, OUT, up, OUT, n_rows, OUT);
            }
            CHECK_MSG(memcmp(products[i].y, want, n_rows * OUT * sizeof *want) == 0,
                      "%s: %zu rows, product %zu", kernels_isa(), n_rows, i);
        }
        for (size_t i = 0; i < MATS; i++)
            group_mat_free(m[i]);
        free(x);
        free(y);
        free(want);
        free(up);
        free(scratch);
    }
    pool_free(p);
}

/* --precise: the weights as mat_row gives them, in f32. */
static inline void precise_groups_are_f32(void) {
    enum { ROWS = 5, OUT = 37, IN = 700 };
    struct pool *p = pool_new(2, NULL);
    for (size_t c = 0; c < N_GROUP_CASES; c++) {
        struct group_mat *m = group_mat_new(&group_cases[c], OUT, IN);
        const size_t groups = m->q.n_groups;
        float *x = random_floats(ROWS * IN), *rows = xcalloc(OUT * IN, sizeof *rows), y[ROWS * OUT],
              want[ROWS * OUT];
        for (size_t o = 0; o < OUT; o++) {
            mat_row(&m->w, o, rows + o * IN);
            for (size_t k = 0; k < IN; k++) {
                const size_t g = k / m->q.group, at = m->q.order ? m->q.order[k] : k;
                float v = (float)m->values[o * IN + k] * m->scales[o * groups + g];
                if (m->c.biases)
                    v += m->biases[o * groups + g];
                CHECK(rows[o * IN + at] == v);
            }
        }
        const struct mat f32 = mat_plain(rows, DT_F32, OUT, IN);
        multiply_int(p, y, OUT, &m->w, NULL, x, IN, ROWS, true);
        multiply_int(p, want, OUT, &f32, NULL, x, IN, ROWS, true);
        CHECK_MSG(memcmp(y, want, sizeof y) == 0, "%s: case %zu", kernels_isa(), c);
        group_mat_free(m);
        free(x);
        free(rows);
    }
    pool_free(p);
}

/* ---- Rows that are widened ---- */

/* Every code of E4M3 and NF4, with groups of several sizes, as mat_row gives them. Precise: some
 * sets have a kernel for E4M3. */
static inline void widened_rows_are_the_reference(void) {
    enum { OUT = 9, IN = 302 };
    static const size_t sizes[] = {1, 2, 7, 32, 64, 100, 302, 4096};
    struct pool *p = pool_new(2, NULL);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        const bool f8 = i % 2;
        const size_t group = sizes[i / 2], n = f8 ? OUT * IN : OUT * IN / 2;
        struct guarded g = guarded_new(n, 0);
        for (size_t k = 0; k < n; k++)
            g.p[k] = f8 && k % 128 == 127 ? 0 : (uint8_t)k;
        float *scales = random_floats(OUT * IN), *x = random_floats(3 * IN), rows[OUT * IN],
              y[3 * OUT], want[3 * OUT];
        struct mat_quant q = {.group = group,
                              .n_groups = (IN + group - 1) / group,
                              .scale_type = DT_F32,
                              .scales = scales,
                              .factor = 1,
                              .block_rows = 2};
        for (int k = 0; k < 16; k++)
            q.values[k] = random_float();
        const struct mat w = {.layout = f8 ? MAT_F8 : MAT_NF4,
                              .n_out = OUT,
                              .n_in = IN,
                              .row_bytes = n / OUT,
                              .data = g.p,
                              .quant = &q};
        for (size_t o = 0; o < OUT; o++)
            mat_row(&w, o, rows + o * IN);
        const struct mat f32 = mat_plain(rows, DT_F32, OUT, IN);
        for (size_t r = 1; r <= 3; r++) {
            multiply_int(p, y, OUT, &w, NULL, x, IN, r, true);
            multiply_int(p, want, OUT, &f32, NULL, x, IN, r, true);
            CHECK_MSG(memcmp(y, want, r * OUT * sizeof *y) == 0, "%s: group %zu, %d", kernels_isa(),
                      group, f8);
        }
        guarded_free(&g);
        free(scales);
        free(x);
    }
    pool_free(p);
}

#endif
