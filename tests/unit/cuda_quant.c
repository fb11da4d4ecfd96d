/* common/backend/cuda/quant.cu and integer.cu: products and look-ups of quantised matrices.
 *
 * Our own layouts have the bits of the CPU's products. Look-ups have those of mat_row, and products
 * in f32 those of k_exact_f32 with the values of mat_row. Products of the other layouts are
 * compared with sums in f64 of the rounded values; and each kernel with the others, bit for bit. A
 * mma of 16 products is off by at most 2^-22 of the sum of their magnitudes, and so is a sum of n
 * of them n times.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // kernel_int_checks.h
#include <math.h>

#include "../lib/cuda_dev.h"
#include "../lib/kernel_int_checks.h"

static uint32_t below(uint32_t n) {
    return (uint32_t)(random_bits() >> 20) % n;
}
static size_t padded(size_t n) {
    return round_up_size(n, CU_PAD);
}

/* ---- matrices ---- */

enum { N_OTHER = MAT_I8 - MAT_G4 }; // layouts

/* A random matrix of a published layout. Its parts are freed with it. */
struct other_mat {
    struct mat w;
    struct mat_quant q;
    void *parts[8];
    size_t n_parts;
};

static void *part(struct other_mat *m, size_t n, unsigned below_this) {
    unsigned char *p = xcalloc(1, n + 1);
    for (size_t i = 0; i < n && below_this; i++)
        p[i] = (unsigned char)below(below_this);
    return m->parts[m->n_parts++] = p;
}
static void *scales(struct other_mat *m, size_t n, float most) {
    enum dtype t = m->q.scale_type;
    unsigned char *p = part(m, n * 4, 0);
    for (size_t i = 0; i < n; i++) {
        const float f = random_float() * most;
        const uint16_t half = t == DT_BF16 ? bf16_from_f32(f) : f16_from_f32(f);
        memcpy(p + i * (t == DT_F32 ? 4 : 2), t == DT_F32 ? (const void *)&f : &half,
               t == DT_F32 ? 4 : 2);
    }
    return p;
}

/* Scales of two levels, as Q4_K and Q6_K have. */
static void two_levels(struct other_mat *m) {
    struct mat_quant *q = &m->q;
    const bool k4 = m->w.layout == MAT_K4;
    const size_t panels = (m->w.n_out + MAT_PANEL - 1) / MAT_PANEL,
                 supers = (m->w.n_in + MAT_SUPER - 1) / MAT_SUPER;
    q->group = k4 ? 32 : 16;
    q->n_groups = (m->w.n_in + q->group - 1) / q->group;
    q->scale_type = DT_F16;
    q->factor = 1;
    q->zero = k4 ? 0 : 128;
    q->d = scales(m, panels * supers * MAT_PANEL, 0.01f);
    q->steps = part(m, panels * q->n_groups * MAT_PANEL, 256);
    if (below(2)) {
        q->dmin = scales(m, panels * supers * MAT_PANEL, 0.01f);
        q->lows = part(m, panels * q->n_groups * MAT_PANEL, 256);
    }
}

static void groups(struct other_mat *m, bool plain) {
    struct mat_quant *q = &m->q;
    const size_t rows = round_up_size(m->w.n_out, MAT_PANEL);
    const bool g4 = m->w.layout == MAT_G4;
    q->group = (size_t[]){16, 32, 128, m->w.n_in, 24}[below(plain ? 4 : 5)];
    q->n_groups = (m->w.n_in + q->group - 1) / q->group;
    q->scale_type = (enum dtype[]){DT_F32, DT_F16, DT_BF16}[below(3)];
    q->factor = below(2) ? 1 : 0.5f;
    q->zero = g4 ? 0 : (int32_t)below(256);
    q->scales = scales(m, rows * q->n_groups, 0.1f);
    if (below(2))
        q->biases = scales(m, rows * q->n_groups, 0.2f);
    if (below(2))
        q->zeros = part(m, rows * q->n_groups, g4 ? 16 : 256);
}

static void fill_panels(struct other_mat *m, bool plain) {
    struct mat_quant *q = &m->q;
    const size_t n_out = m->w.n_out, n_in = m->w.n_in, rows = round_up_size(n_out, MAT_PANEL),
                 bytes = mat_panel_bytes(m->w.layout, n_in);
    const bool halves = mat_has_halves(m->w.layout), k = m->w.layout >= MAT_K4;
    if (k)
        two_levels(m);
    else
        groups(m, plain);
    for (size_t i = 0; i < 16; i++)
        q->table[i] = (int8_t)(m->w.layout == MAT_G4 && below(2) ? (int)below(25) - 12 : (int)i);
    if (!plain && !k && below(2)) {
        uint32_t *order = part(m, n_in * sizeof *order, 0);
        for (uint32_t i = 0; i < n_in; i++)
            order[i] = i;
        for (uint32_t i = 0; i < n_in; i++) {
            uint32_t with = i + below((uint32_t)n_in - i), was = order[i];
            order[i] = order[with];
            order[with] = was;
        }
        q->order = order;
    }
    unsigned char *data = part(m, rows / MAT_PANEL * bytes, 0);
    uint8_t *codes = xcalloc(MAT_PANEL, n_in);
    for (size_t o = 0; o < n_out; o += MAT_PANEL) {
        for (size_t i = 0; i < MAT_PANEL * n_in; i++)
            codes[i] = (uint8_t)below(halves ? 16 : 256);
        mat_panel_store(m->w.layout, data + o / MAT_PANEL * bytes, codes, n_in,
                        n_out - o < MAT_PANEL ? n_out - o : MAT_PANEL, n_in, 3);
    }
    free(codes);
    m->w.data = data;
    m->w.row_bytes = bytes / MAT_PANEL;
}

/* plain: no order of inputs, and groups of whole tiles. */
static struct other_mat *other_mat_new(enum mat_layout layout, size_t n_out, size_t n_in,
                                       bool plain) {
    struct other_mat *m = xcalloc(1, sizeof *m);
    m->w = (struct mat){.layout = layout, .n_out = n_out, .n_in = n_in, .quant = &m->q};
    m->q.scale_type = DT_F32;
    if (layout == MAT_F8) {
        m->q.group = below(2) ? 128 : n_in;
        m->q.block_rows = below(2) ? 128 : n_out;
        m->q.n_groups = (n_in + m->q.group - 1) / m->q.group;
        m->q.scales =
            scales(m, (n_out + m->q.block_rows - 1) / m->q.block_rows * m->q.n_groups, 0.1f);
        m->w.row_bytes = n_in;
        m->w.data = part(m, n_out * n_in, 127); // no NaN, and positive
        for (size_t i = 0; i < n_out * n_in; i++)
            ((unsigned char *)m->parts[m->n_parts - 1])[i] |= (unsigned char)(below(2) << 7);
    } else if (layout == MAT_NF4) {
        m->q.group = below(2) ? 64 : plain ? 32 : 24;
        m->q.scales = scales(m, n_out * n_in / m->q.group + 1, 1);
        for (size_t i = 0; i < 16; i++)
            m->q.values[i] = random_float();
        m->w.row_bytes = n_in / 2;
        m->w.data = part(m, n_out * n_in / 2, 256);
    } else {
        fill_panels(m, plain);
    }
    return m;
}
static void other_mat_free(struct other_mat *m) {
    for (size_t i = 0; i < m->n_parts; i++)
        free(m->parts[i]);
    free(m);
}

/* A matrix on the device. */
struct dev_mat {
    struct dev_buf parts[7], quant;
};
static struct dev_mat dev_mat_new(const struct mat *w) {
    const struct mat_quant *of = w->quant;
    struct dev_mat m = {.quant = {NULL, 0}};
    struct cu_quant q = {.layout = (uint32_t)(w->layout - MAT_G4), .n_in = (uint32_t)w->n_in};
    const bool rows = w->layout == MAT_F8 || w->layout == MAT_NF4;
    const size_t n = of ? round_up_size(w->n_out, MAT_PANEL) * of->n_groups : 0,
                 size = of && of->scale_type != DT_F32 ? 2 : 4;
    q.panel_bytes = w->row_bytes * (rows ? 1 : MAT_PANEL);
    m.parts[0] =
        dev_new(w->data, rows || of ? (rows ? w->n_out : round_up_size(w->n_out, 16)) * w->row_bytes
                                    : mat_bytes(w));
    q.data = m.parts[0].p;
    if (!of && w->layout != MAT_I8)
        memcpy(q.table, panel_i4_table(mat_i4_block(w->layout)), sizeof q.table);
    if (of && of->steps) {
        const size_t levels =
            round_up_size(w->n_out, MAT_PANEL) * ((w->n_in + MAT_SUPER - 1) / MAT_SUPER) * 2;
        q.scales = (m.parts[1] = dev_new(of->d, levels)).p;
        q.steps = (m.parts[5] = dev_new(of->steps, n)).p;
        if (of->dmin) {
            q.biases = (m.parts[2] = dev_new(of->dmin, levels)).p;
            q.lows = (m.parts[6] = dev_new(of->lows, n)).p;
        }
    } else if (of) {
        const size_t n_scales =
            w->layout == MAT_NF4 ? w->n_out * w->n_in / of->group + 1
            : rows               ? (w->n_out + of->block_rows - 1) / of->block_rows * of->n_groups
                                 : n;
        m.parts[1] = dev_new(of->scales, n_scales * size);
        q.scales = m.parts[1].p;
        if (of->biases)
            q.biases = (m.parts[2] = dev_new(of->biases, n * size)).p;
        if (of->zeros)
            q.zeros = (m.parts[3] = dev_new(of->zeros, n)).p;
        if (of->order) {
            uint32_t *place = xcalloc(w->n_in, sizeof *place);
            for (size_t i = 0; i < w->n_in; i++)
                place[of->order[i]] = (uint32_t)i;
            q.place = (m.parts[4] = dev_new(place, w->n_in * sizeof *place)).p;
            free(place);
        }
    }
    if (of) {
        q.group = (uint32_t)of->group;
        q.n_groups = (uint32_t)of->n_groups;
        q.block_rows = (uint32_t)of->block_rows;
        q.scale_type = of->scale_type == DT_F32    ? CU_F32
                       : of->scale_type == DT_BF16 ? CU_BF16
                                                   : CU_F16;
        q.zero = of->zero;
        q.factor = of->factor;
        memcpy(q.table, of->table, sizeof q.table);
        memcpy(q.values, of->values, sizeof q.values);
    }
    m.quant = dev_new(&q, sizeof q);
    return m;
}
static void dev_mat_free(struct dev_mat *m) {
    for (size_t i = 0; i < sizeof m->parts / sizeof *m->parts; i++)
        if (m->parts[i].p)
            dev_free(&m->parts[i]);
    dev_free(&m->quant);
}

/* ---- products ---- */

/* x [n, ldx] on the device, and in another form. */
struct dev_x {
    struct dev_step s;
    struct dev_buf plain, made, scales;
    size_t n, n_in, ldx;
};
static struct dev_x dev_x_new(const float *x, size_t n, size_t n_in) {
    const size_t ldx = padded(n_in);
    float *rows = xcalloc(n * ldx, sizeof *rows);
    struct cu_row *step_rows = xcalloc(n, sizeof *step_rows);
    for (size_t i = 0; i < n; i++)
        memcpy(rows + i * ldx, x + i * n_in, n_in * sizeof *x);
    struct dev_x d = {.s = dev_step(step_rows, (uint32_t)n, 0, NULL, 0),
                      .plain = dev_new(rows, n * ldx * sizeof *rows),
                      .made = dev_new(NULL, round_up_size(n, CU_TILE) * ldx * 2),
                      .scales = dev_new(NULL, n * ((n_in + 255) / 256) * 4),
                      .n = n,
                      .n_in = n_in,
                      .ldx = ldx};
    free(rows);
    free(step_rows);
    return d;
}
static void dev_x_make(struct dev_x *d, const char *kernel, uint32_t type) {
    const bool codes = strcmp(kernel, "k_int_x") == 0;
    const struct cu_x_args a = {.step = d->s.step,
                                .x = d->plain.p,
                                .to = d->made.p,
                                .scales = d->scales.p,
                                .dim = (uint32_t)d->n_in,
                                .ldx = (uint32_t)d->ldx,
                                .ld_to = (uint32_t)(codes ? 2 * d->ldx : d->ldx),
                                .type = type,
                                .times = 1};
    dev_launch(kernel, (unsigned)d->n + 1, codes ? 1 : (unsigned)(d->ldx + 2047) / 2048, CU_THREADS,
               &a);
}
static void dev_x_free(struct dev_x *d) {
    dev_step_free(&d->s);
    dev_free(&d->plain);
    dev_free(&d->made);
    dev_free(&d->scales);
}

/* y [n, n_out] of a kernel; to be freed. */
static float *run(const char *kernel, const struct dev_x *x, const struct dev_mat *w, size_t n_out,
                  const struct dev_buf *bias, uint32_t type, bool many) {
    struct dev_buf y = dev_new(NULL, x->n * n_out * 4);
    const bool exact = strncmp(kernel, "k_exact", 7) == 0, codes = strncmp(kernel, "k_int", 5) == 0;
    const unsigned tiles = (unsigned)(n_out + 15) / 16, rows = 1 + below((unsigned)x->n / 8 + 1);
    const struct cu_matmul_args a = {.step = x->s.step,
                                     .pairs = {.n_out = {(uint32_t)n_out}, .n_mats = 1},
                                     .w = {w->quant.p},
                                     .bias = {bias ? bias->p : NULL},
                                     .n_in = (uint32_t)x->n_in,
                                     .ld_w = (uint32_t)padded(x->n_in),
                                     .x = exact ? x->plain.p : x->made.p,
                                     .ldx = (uint32_t)(codes ? 2 * x->ldx : x->ldx),
                                     .x_type = type,
                                     .x_scales = x->scales.p,
                                     .y = y.p,
                                     .ldy = (uint32_t)n_out};
    dev_launch(kernel, many ? rows : tiles, many ? (tiles + 7) / 8 : rows, CU_THREADS, &a);
    float *out = dev_read_floats(&y);
    dev_free(&y);
    return out;
}

static void same_floats(float *got, const float *want, size_t n, const char *what,
                        const char *which, size_t n_rows, size_t n_in) {
    for (size_t i = 0; i < n; i++)
        if (!same(got[i], want[i])) {
            CHECK_MSG(0, "%s of %s, %zu rows of %zu: output %zu is %a, not %a", what, which, n_rows,
                      n_in, i, (double)got[i], (double)want[i]);
            break;
        }
    free(got);
}

/* ---- our own layouts ---- */

static void own_once(enum mat_layout layout, size_t n_rows, size_t n_out, size_t n_in,
                     enum fill fill) {
    static const char *const names[][3] = {{"k_int8_i8", "k_int32_i8", "k_int_many_i8"},
                                           {"k_int8_i4_32", "k_int32_i4_32", "k_int_many_i4_32"},
                                           {"k_int8_i4_16", "k_int32_i4_16", "k_int_many_i4_16"},
                                           {"k_int8_i4_64", "k_int32_i4_64", "k_int_many_i4_64"}};
    struct int_mat m = int_mat_new(layout, n_out, n_in, 0, fill);
    float *x = random_floats(n_rows * n_in), *bias = random_floats(n_out),
          *want = xcalloc(n_rows * n_out, sizeof *want);
    struct pool *p = pool_new(1, NULL);
    for (size_t i = 0; i < n_rows * n_in; i++)
        x[i] = fill == FILL_EXTREME ? 3.0f : x[i] * (i % 97 == 0 ? 50.0f : 1.0f);
    if (fill == FILL_RANDOM && n_rows > 2) { // as odd_values_of_x of kernel_int_checks.h
        x[n_in / 2] = INFINITY;
        memset(x + n_in, 0, n_in * sizeof *x);
        x[2 * n_in] = 1e-35f;
    }
    const bool with = below(2);
    multiply_int(p, want, n_out, &m.w, with ? bias : NULL, x, n_in, n_rows, false);
    struct dev_x d = dev_x_new(x, n_rows, n_in);
    struct dev_mat w = dev_mat_new(&m.w);
    struct dev_buf b = dev_new(bias, n_out * 4);
    dev_x_make(&d, "k_int_x", 0);
    for (size_t i = 0; i < 3; i++) {
        const char *name = names[layout - MAT_I8][i];
        same_floats(run(name, &d, &w, n_out, with ? &b : NULL, 0, i == 2), want, n_rows * n_out,
                    name, "the CPU", n_rows, n_in);
    }
    dev_x_free(&d);
    dev_mat_free(&w);
    dev_free(&b);
    int_mat_free(&m);
    pool_free(p);
    free(x);
    free(bias);
    free(want);
}

static void own_layouts_have_the_cpus_bits(void) {
    for (size_t l = 0; l < N_LAYOUTS; l++) {
        for (int i = 0; i < 5; i++)
            own_once(layouts[l], 1 + below(12), 1 + below(70), 1 + below(700), FILL_RANDOM);
        own_once(layouts[l], 35, 20, 320, FILL_RANDOM);
        own_once(layouts[l], 2, 16, 512, FILL_EXTREME);
        own_once(layouts[l], 1, 17, 9000, FILL_RANDOM); // more superblocks than a round
    }
}

/* ---- look-ups ---- */

static void look_up(const struct mat *w) {
    enum { ROWS = 5 };
    struct cu_row rows[ROWS] = {{.id = 0}};
    float *want = xcalloc(ROWS * w->n_in, sizeof *want);
    for (size_t i = 0; i < ROWS; i++) {
        rows[i].id = below((uint32_t)w->n_out);
        mat_row(w, rows[i].id, want + i * w->n_in);
    }
    struct dev_step s = dev_step(rows, ROWS, 0, NULL, 0);
    struct dev_mat m = dev_mat_new(w);
    struct dev_buf x = dev_new(NULL, ROWS * w->n_in * 4);
    const struct cu_begin_args a = {.step = s.step,
                                    .embed = m.quant.p,
                                    .embed_quant = 1,
                                    .x = x.p,
                                    .dim = (uint32_t)w->n_in,
                                    .ldx = (uint32_t)w->n_in,
                                    .scale = 1};
    dev_launch("k_begin", ROWS, 1, CU_THREADS, &a);
    same_floats(dev_read(&x), want, ROWS * w->n_in, "a look-up", mat_layout_name(w->layout), ROWS,
                w->n_in);
    dev_free(&x);
    dev_mat_free(&m);
    dev_step_free(&s);
    free(want);
}

static void look_ups_have_the_bits_of_mat_row(void) {
    for (size_t i = 0; i < 60; i++) {
        struct other_mat *m = other_mat_new((enum mat_layout)(MAT_G4 + i % N_OTHER), 1 + below(50),
                                            2 * (1 + below(150)), false);
        look_up(&m->w);
        other_mat_free(m);
    }
    for (size_t i = 0; i < 12; i++) {
        struct int_mat m =
            int_mat_new(layouts[i % N_LAYOUTS], 1 + below(40), 1 + below(600), 0, FILL_RANDOM);
        look_up(&m.w);
        int_mat_free(&m);
    }
}

/* ---- in f32 ---- */

/* The bits of k_exact_f32 with the values of mat_row. */
static void exact_once(const struct mat *w, size_t n_rows) {
    const size_t ld = padded(w->n_in);
    float *values = xcalloc(round_up_size(w->n_out, 16) * ld, sizeof *values),
          *x = random_floats(n_rows * w->n_in);
    for (size_t o = 0; o < w->n_out; o++)
        mat_row(w, o, values + o * ld);
    struct dev_x d = dev_x_new(x, n_rows, w->n_in);
    struct dev_mat m = dev_mat_new(w),
                   plain = {.quant = dev_new(values, w->n_out * ld * sizeof *values)};
    float *want = run("k_exact_f32", &d, &plain, w->n_out, NULL, 0, false);
    same_floats(run("k_exact_quant", &d, &m, w->n_out, NULL, 0, false), want, n_rows * w->n_out,
                "k_exact_quant", mat_layout_name(w->layout), n_rows, w->n_in);
    free(want);
    dev_x_free(&d);
    dev_mat_free(&m);
    dev_free(&plain.quant);
    free(values);
    free(x);
}

static void exact_products_have_the_bits_of_f32(void) {
    for (size_t i = 0; i < 18; i++) {
        struct other_mat *m = other_mat_new((enum mat_layout)(MAT_G4 + i % N_OTHER), 1 + below(40),
                                            2 * (1 + below(200)), false);
        exact_once(&m->w, 1 + below(10));
        other_mat_free(m);
    }
    for (size_t i = 0; i < N_LAYOUTS; i++) {
        struct int_mat m = int_mat_new(layouts[i], 1 + below(40), 1 + below(400), 0, FILL_RANDOM);
        exact_once(&m.w, 3);
        int_mat_free(&m);
    }
}

/* ---- rounded ---- */

static float rounded(float f, uint32_t type) {
    return type == CU_BF16 ? f32_from_bf16(bf16_from_f32(f)) : f32_from_f16(f16_from_f32(f));
}

static void rounded_once(enum mat_layout layout, size_t n_rows, size_t n_out, size_t n_in,
                         bool plain) {
    static const char *const names[][2] = {
        {"k_quant8_g4", "k_quant32_g4"}, {"k_quant8_g8", "k_quant32_g8"},
        {"k_quant8_f8", "k_quant32_f8"}, {"k_quant8_nf4", "k_quant32_nf4"},
        {"k_quant8_k4", "k_quant32_k4"}, {"k_quant8_k8", "k_quant32_k8"}};
    struct other_mat *m = other_mat_new(layout, n_out, n_in, plain);
    const uint32_t type = below(2) ? CU_BF16 : CU_F16;
    float *x = random_floats(n_rows * n_in), *row = xcalloc(n_in, sizeof *row);
    struct dev_x d = dev_x_new(x, n_rows, n_in);
    struct dev_mat w = dev_mat_new(&m->w);
    dev_x_make(&d, "k_round", type);
    float *y = run(names[layout - MAT_G4][0], &d, &w, n_out, NULL, type, false);
    same_floats(run(names[layout - MAT_G4][1], &d, &w, n_out, NULL, type, false), y, n_rows * n_out,
                names[layout - MAT_G4][1], names[layout - MAT_G4][0], n_rows, n_in);
    for (size_t o = 0; o < n_out; o++) {
        mat_row(&m->w, o, row);
        for (size_t i = 0; i < n_rows; i++) {
            double sum = 0, all = 0;
            for (size_t k = 0; k < n_in; k++) {
                const double t =
                    (double)rounded(row[k], type) * (double)rounded(x[i * n_in + k], type);
                sum += t;
                all += fabs(t);
            }
            const double far = fabs((double)y[i * n_out + o] - sum),
                         most = all * 0x1p-22 * ((double)n_in / 16 + CU_CHAINS) + 1e-30;
            CHECK_MSG(far <= most, "%s, %zu rows of %zu: output %zu is %g, not %g",
                      names[layout - MAT_G4][0], n_rows, n_in, o, (double)y[i * n_out + o], sum);
        }
    }
    dev_x_free(&d);
    dev_mat_free(&w);
    other_mat_free(m);
    free(x);
    free(y);
    free(row);
}

static void other_layouts_are_rounded_and_multiplied(void) {
    for (size_t i = 0; i < 36; i++)
        rounded_once((enum mat_layout)(MAT_G4 + i % N_OTHER), 1 + below(i % 6 == 0 ? 40 : 9),
                     1 + below(40), i % 3 ? 32 * (1 + below(12)) : 2 * (1 + below(200)), i % 2);
}

int main(int argc, char **argv) {
    struct err e = {0};
    (void)argc;
    dev_open(argv);
    dev_must(kernels_init(&e), &e);
    RUN(look_ups_have_the_bits_of_mat_row);
    RUN(own_layouts_have_the_cpus_bits);
    RUN(exact_products_have_the_bits_of_f32);
    RUN(other_layouts_are_rounded_and_multiplied);
    cu_close(dev);
    return check_done();
}
