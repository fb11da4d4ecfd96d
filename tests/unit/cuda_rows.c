/* common/backend/cuda/rows.cu: the kernels that work row by row.
 *
 * Sums are compared bit for bit with the same order written plainly, and with the CPU's functions
 * within the error of a sum: n terms added in f32 in any order are off by at most (n + 2) * 2^-24 *
 * sum |terms| (Higham 2002, 3.5). All else has the CPU's bits. Outputs are full of NaN before a
 * run, and what no row owns has to stay so. Grids have more rows than the step.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "../lib/cuda_values.h"
#include "kernels/kernels.h"

/* ---- k_begin ---- */

/* Where element k of output o is in a matrix of plain pairs that k_pack has packed: as mma_bf16 in
 * device.h wants it. */
static size_t packed_at(uint32_t o, uint32_t k, uint32_t ld) {
    uint32_t g = o % 8, t = k % 8 / 2, word = o % 16 / 8 + k % 16 / 8 * 2;
    return ((size_t)(o / 16) * (ld / 16) + k / 16) * 256 + (4 * g + t) * 8 + word * 2 + k % 2;
}

static void begin_once(uint32_t dim, uint32_t n_rows, uint32_t type, bool packed, bool positions,
                       uint32_t n_ropes) {
    enum { VOCAB = 37, MAX_POS = 19 };
    uint32_t ld =
        round_up(dim, CU_PAD) - (!packed && below(2) && dim % CU_PAD ? CU_PAD - dim % CU_PAD : 0);
    uint32_t ldx = dim + (below(2) ? below(5) : round_up(dim, CU_PAD) - dim),
             vocab = packed ? round_up(VOCAB, 16) : VOCAB;
    uint32_t ld_pos = round_up(dim, CU_PAD), half[2] = {1 + below(70), 1 + below(300)},
             n_words = half[0] + 2 * half[1] + 3;
    uint32_t type_pos = below(3);
    size_t size = type_size(type), size_pos = type_size(type_pos);
    void *embed = xcalloc((size_t)vocab * ld, size), *table = xcalloc((size_t)VOCAB * dim, size);
    void *places = xcalloc(MAX_POS * ld_pos, size_pos);
    fill(table, type, (size_t)VOCAB * dim);
    for (uint32_t o = 0; o < VOCAB; o++)
        for (uint32_t k = 0; k < dim; k++)
            put(embed, type, packed ? packed_at(o, k, ld) : (size_t)o * ld + k,
                get(table, type, (size_t)o * dim + k));
    for (uint32_t p = 0; p < MAX_POS; p++)
        fill((char *)places + p * ld_pos * size_pos, type_pos, dim);
    float *freqs = random_floats(n_words), scale = below(2) ? 1 : 1 + random_float(),
          rope_scale[2] = {1, 1.25f};
    for (uint32_t i = 0; i < n_words; i++)
        freqs[i] = fabsf(freqs[i]);
    struct cu_row *rows = xcalloc(n_rows, sizeof *rows);
    for (uint32_t i = 0; i < n_rows; i++)
        rows[i] = (struct cu_row){.id = below(VOCAB),
                                  .pos = positions ? below(MAX_POS) : below(1u << 20),
                                  .freq = {3, 3 + half[0]}};
    if (n_rows > 1)
        rows[1].freq[1] += half[1];

    struct dev_step s = dev_step(rows, n_rows, 0, (const uint32_t *)(const void *)freqs, n_words);
    struct dev_buf e = dev_new(embed, (size_t)vocab * ld * size),
                   p = dev_new(places, MAX_POS * ld_pos * size_pos);
    struct dev_buf x = dev_new(NULL, (size_t)n_rows * ldx * 4), c[2], d[2];
    struct cu_begin_args a = {.step = s.step,
                              .embed = e.p,
                              .positions = positions ? p.p : NULL,
                              .embed_type = type,
                              .positions_type = type_pos,
                              .embed_ld = ld,
                              .positions_ld = ld_pos,
                              .embed_packed = packed,
                              .x = x.p,
                              .dim = dim,
                              .ldx = ldx,
                              .scale = scale,
                              .n_ropes = n_ropes};
    for (uint32_t r = 0; r < 2; r++) {
        c[r] = dev_new(NULL, (size_t)n_rows * half[r] * 4);
        d[r] = dev_new(NULL, (size_t)n_rows * half[r] * 4);
        a.half[r] = half[r];
        a.rope_scale[r] = rope_scale[r];
        a.cosines[r] = c[r].p;
        a.sines[r] = d[r].p;
    }
    dev_launch("k_begin", n_rows + 2, 1, CU_THREADS, &a);

    float *want = poisoned((size_t)n_rows * ldx, 4);
    for (uint32_t i = 0; i < n_rows; i++)
        for (uint32_t k = 0; k < dim; k++) {
            float f = get(table, type, (size_t)rows[i].id * dim + k) * scale;
            want[i * ldx + k] = positions ? f + get(places, type_pos, rows[i].pos * ld_pos + k) : f;
        }
    check_bytes(&x, want, "x");
    for (uint32_t r = 0; r < 2; r++) {
        float *cosines = poisoned((size_t)n_rows * half[r], 4),
              *sines = poisoned((size_t)n_rows * half[r], 4);
        for (uint32_t i = 0; i < n_rows && r < n_ropes; i++)
            for (uint32_t k = 0; k < half[r];
                 k++) { // as common/model/rope.h and the CPU's step have it
                float angle = (float)rows[i].pos * freqs[rows[i].freq[r] + k];
                cosines[i * half[r] + k] = (float)cos((double)angle) * rope_scale[r];
                sines[i * half[r] + k] = (float)sin((double)angle) * rope_scale[r];
            }
        check_bytes(&c[r], cosines, "cosines");
        check_bytes(&d[r], sines, "sines");
    }
    dev_step_free(&s);
    dev_free(&e);
    dev_free(&p);
    free(embed);
    free(table);
    free(places);
    free(freqs);
    free(rows);
}

static void begin(void) {
    for (int i = 0; i < 60; i++) {
        bool packed = i % 3 == 1;
        begin_once(1 + below(i % 5 == 0 ? 1500 : 130), 1 + below(5),
                   packed ? 1 + below(2) : below(3), packed, below(2), below(3));
    }
}

/* The angle of pair i is words[i] at position 1. */
static void check_angles(const float *angles, uint32_t n) {
    const struct cu_row row = {.pos = 1};
    struct dev_step s = dev_step(&row, 1, 0, (const uint32_t *)(const void *)angles, n);
    struct dev_buf c = dev_new(NULL, n * 4), d = dev_new(NULL, n * 4);
    struct cu_begin_args a = {.step = s.step,
                              .n_ropes = 1,
                              .half = {n},
                              .rope_scale = {1},
                              .cosines = {c.p},
                              .sines = {d.p}};
    dev_launch("k_begin", 1, 1, CU_THREADS, &a);
    float *cosines = dev_read(&c), *sines = dev_read(&d);
    for (uint32_t i = 0; i < n; i++) {
        float want_c = (float)cos((double)angles[i]), want_s = (float)sin((double)angles[i]);
        if (cosines[i] != want_c || sines[i] != want_s) {
            CHECK_MSG(0, "at %a: cos %a and sin %a, not %a and %a", (double)angles[i],
                      (double)cosines[i], (double)sines[i], (double)want_c, (double)want_s);
            break;
        }
    }
    free(cosines);
    free(sines);
    dev_free(&c);
    dev_free(&d);
    dev_step_free(&s);
}

static void angles(void) {
    enum { N = 1 << 18 };
    float *x = xcalloc(N, sizeof *x);
    for (int round = 0; round < 8; round++) {
        float range = round < 4 ? 1e6f : ldexpf(1, 7 * (round - 3)); // to 2^28
        for (size_t i = 0; i < N; i++)
            x[i] = random_float() * range;
        check_angles(x, N);
    }
    for (size_t i = 0; i < N; i++) // the floats next to multiples of pi / 2 and pi / 4
        x[i] = f32_from_bits(f32_bits((float)((double)(1 + i / 4 * (i % 8 < 4 ? 1 : 977)) *
                                              0.78539816339744830962)) +
                             (uint32_t)i % 3 - 1);
    check_angles(x, N);
    for (size_t i = 0; i < N; i++) // from 0 through the subnormals to 1.9
        x[i] = f32_from_bits((uint32_t)i * 4067u);
    check_angles(x, N);
    free(x);
}

/* ---- norms ---- */

/* The sum of x [dim], or of its squared distances from mean, in the order of norm.h. */
static float row_sum(const float *x, size_t dim, bool squares, float mean) {
    size_t slice = (((dim + CU_PAD - 1) / CU_PAD) + CU_CHAINS - 1) / CU_CHAINS * CU_PAD;
    float total = 0;
    for (size_t c = 0; c < CU_CHAINS; c++) {
        float lane[32] = {0};
        for (size_t i = c * slice; i < (c + 1) * slice && i < dim; i++)
            lane[(i - c * slice) / 4 % 32] += squares ? (x[i] - mean) * (x[i] - mean) : x[i];
        for (size_t far = 16; far > 0; far /= 2)
            for (size_t l = 0; l < far; l++)
                lane[l] += lane[l + far];
        total = c == 0 ? lane[0] : total + lane[0];
    }
    return total;
}
/* The same by n_threads threads of warps, each with every n_threads-th element. */
static float strided_sum(const float *x, size_t n, size_t n_threads, bool squares, float mean) {
    float part[CU_THREADS] = {0};
    for (size_t i = 0; i < n; i++)
        part[i % n_threads] += squares ? (x[i] - mean) * (x[i] - mean) : x[i];
    for (size_t w = 0; w < n_threads; w += 32)
        for (size_t far = 16; far > 0; far /= 2)
            for (size_t l = 0; l < far; l++)
                part[w + l] += part[w + l + far];
    float sum = part[0];
    for (size_t w = 32; w < n_threads; w += 32)
        sum += part[w];
    return sum;
}

/* y [n] = norm(x) with the sums of k_norm (n_threads 0) or of n_threads threads. */
static void plain_norm(float *y, const float *x, size_t n, const struct cu_norm *norm,
                       size_t n_threads) {
#define SUM(squares, mean)                                                                         \
    (n_threads ? strided_sum(x, n, n_threads, squares, mean) : row_sum(x, n, squares, mean))
    float mean = norm->kind == CU_NORM_LAYER ? SUM(false, 0) / (float)n : 0;
    float scale = 1.0f / sqrtf(SUM(true, mean) / (float)n + norm->eps);
    for (size_t i = 0; i < n; i++) {
        float v = x[i];
        if (norm->kind == CU_NORM_RMS)
            v = v * scale * (norm->weight[i] + norm->offset);
        if (norm->kind == CU_NORM_LAYER) {
            v = (v - mean) * scale * norm->weight[i];
            v = norm->bias ? v + norm->bias[i] : v;
        }
        y[i] = v;
    }
#undef SUM
}

/* y is close to what the CPU has. x is within 1. */
static void check_near(const float *y, const float *x, size_t n, const struct cu_norm *norm) {
    float *cpu = xcalloc(n, sizeof *cpu);
    double unit = 0x1p-24 * (double)(n + 8), scale = 1;
    const struct rows_norm own = {norm->weight, norm->bias, norm->offset, norm->eps};
    if (norm->kind == CU_NORM_RMS)
        rows_rmsnorm(cpu, n, x, n, 1, n, &own);
    if (norm->kind == CU_NORM_LAYER) {
        rows_layernorm(cpu, n, x, n, 1, n, &own);
        double mean = 0, var = 0;
        for (size_t i = 0; i < n; i++)
            mean += (double)x[i] / (double)n;
        for (size_t i = 0; i < n; i++)
            var += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
        scale = 1 / sqrt(var + (double)norm->eps);
    }
    for (size_t i = 0; i < n && norm->kind != CU_NORM_NONE; i++) {
        double bias = norm->bias ? fabs((double)norm->bias[i]) : 0,
               far = fabs((double)y[i] - (double)cpu[i]);
        double most = norm->kind == CU_NORM_RMS ? 2 * unit * fabs((double)cpu[i]) + 1e-30
                                                : 4 * unit * (fabs((double)cpu[i]) + bias + scale);
        CHECK_MSG(far <= most, "norm of %zu: element %zu is %g, not %g", n, i, (double)y[i],
                  (double)cpu[i]);
    }
    free(cpu);
}

struct norm_case {
    uint32_t dim, n_rows, kind, rounded_type;
    bool wanted, bias, y, rounded, same;
};

static void norm_once(const struct norm_case *k) {
    uint32_t dim = k->dim, n = k->wanted ? 1 + below(k->n_rows) : k->n_rows,
             ld_rounded = round_up(dim, CU_PAD);
    uint32_t ldx = below(2) ? ld_rounded : dim + below(3), ldy = k->same    ? ldx
                                                                 : below(2) ? ld_rounded
                                                                            : dim + below(4);
    float *x = random_floats((size_t)k->n_rows * ldx), *w = random_floats(dim),
          *b = random_floats(dim);
    for (uint32_t r = 0; r < k->n_rows; r++) // what pads must not be added
        for (uint32_t i = dim; i < ldx; i++)
            x[r * ldx + i] = 1e6f;
    const struct cu_norm norm = {w, k->bias ? b : NULL, 1e-5f, 0.5f, k->kind};
    struct cu_row *rows = xcalloc(k->n_rows, sizeof *rows);
    for (uint32_t i = 0; i < k->n_rows; i++)
        rows[i].want = below(k->n_rows);
    size_t rounded_n = (size_t)(k->rounded_type == CU_F32 ? n : round_up(n, CU_TILE)) * ld_rounded,
           size = type_size(k->rounded_type);

    struct dev_step s = dev_step(rows, k->n_rows, n, NULL, 0);
    struct dev_buf dx = dev_new(x, (size_t)k->n_rows * ldx * 4), dw = dev_new(w, dim * 4),
                   db = dev_new(b, dim * 4);
    struct dev_buf dy = dev_new(NULL, (size_t)n * ldy * 4), dr = dev_new(NULL, rounded_n * size);
    struct cu_norm_args a = {.step = s.step,
                             .x = dx.p,
                             .y = !k->y     ? NULL
                                  : k->same ? dx.p
                                            : dy.p,
                             .rounded = k->rounded ? dr.p : NULL,
                             .rounded_type = k->rounded_type,
                             .dim = dim,
                             .ldx = ldx,
                             .ldy = ldy,
                             .ld_rounded = ld_rounded,
                             .wanted = k->wanted,
                             .norm = norm};
    a.norm.weight = dw.p;
    a.norm.bias = k->bias ? db.p : NULL;
    dev_launch("k_norm", n / 8 + 1, 1, CU_THREADS, &a);

    float *y = k->same ? xcalloc((size_t)n * ldy, 4) : poisoned((size_t)n * ldy, 4),
          *one = xcalloc(dim, 4);
    unsigned char *rounded = poisoned(rounded_n, size);
    if (k->same)
        memcpy(y, x, (size_t)n * ldy * 4);
    for (uint32_t i = 0; i < n; i++) {
        const float *from = x + (size_t)(k->wanted ? rows[i].want : i) * ldx;
        plain_norm(one, from, dim, &norm, 0);
        check_near(one, from, dim, &norm);
        if (k->y)
            memcpy(y + (size_t)i * ldy, one, dim * 4);
        for (uint32_t j = 0; j < ld_rounded && k->rounded; j++)
            put(rounded, k->rounded_type,
                k->rounded_type == CU_F32 ? (size_t)i * ld_rounded + j : cu_x_at(i, j, ld_rounded),
                j < dim ? one[j] : 0);
    }
    if (k->same)
        check_bytes(&dx, y, "y in x's place");
    else
        check_bytes(&dy, y, "y");
    check_bytes(&dr, rounded, "rounded");
    dev_free(k->same ? &dy : &dx);
    dev_free(&dw);
    dev_free(&db);
    dev_step_free(&s);
    free(x);
    free(w);
    free(b);
    free(one);
    free(rows);
}

static void norms(void) {
    static const uint32_t dims[] = {1,   2,   3,   4,   5,   63,  64,   65,   127,
                                    128, 511, 512, 513, 575, 576, 2048, 2049, 4099};
    for (uint32_t i = 0; i < 3 * sizeof dims / sizeof *dims + 40; i++) {
        uint32_t dim = i < 3 * sizeof dims / sizeof *dims ? dims[i / 3] : 1 + below(1200);
        struct norm_case k = {.dim = dim,
                              .n_rows = 1 + below(i % 9 == 0 ? 140 : 12),
                              .kind = i % 3,
                              .rounded_type = below(3),
                              .wanted = below(3) == 0,
                              .bias = below(2),
                              .y = below(4) > 0,
                              .rounded = below(4) > 0};
        k.same = k.y && !k.wanted && below(2);
        norm_once(&k);
    }
}

/* ---- k_add ---- */

static void adds(void) {
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t dim = 1 + below(i % 4 == 0 ? 3000 : 200), n = 1 + below(5),
                 ldx = below(2) ? round_up(dim, CU_PAD) : dim + below(3);
        uint32_t ldy = below(2) ? round_up(dim, CU_PAD) : dim + below(3);
        float *x = random_floats(n * ldx), *y = random_floats(n * ldy),
              scale = below(2) ? 1 : random_float();
        struct cu_row *rows = xcalloc(n, sizeof *rows);
        struct dev_step s = dev_step(rows, n, 0, NULL, 0);
        struct dev_buf dx = dev_new(x, n * ldx * 4), dy = dev_new(y, n * ldy * 4);
        dev_launch("k_add", n + 1, 1, CU_THREADS,
                   &(struct cu_add_args){.step = s.step,
                                         .y = dy.p,
                                         .x = dx.p,
                                         .dim = dim,
                                         .ldy = ldy,
                                         .ldx = ldx,
                                         .scale = scale});
        rows_add_scaled(y, ldy, x, ldx, n, dim, scale);
        check_bytes(&dy, y, "y");
        check_bytes(&dx, x, "x");
        dev_step_free(&s);
        free(rows);
    }
}

/* ---- k_qk ---- */

struct qk_case {
    uint32_t n_heads, n_kv_heads, dim, half, n_rows, qk_norm, kind;
    bool f32, bias;
};

/* x [n_heads, dim] as k_qk norms it. */
static void plain_heads(const struct qk_case *k, float *x, uint32_t n_heads,
                        const struct cu_norm *norm) {
    if (k->qk_norm == CU_QK_ALL) {
        float *y = xcalloc((size_t)n_heads * k->dim, 4);
        plain_norm(y, x, (size_t)n_heads * k->dim, norm, CU_THREADS);
        check_near(y, x, (size_t)n_heads * k->dim, norm);
        memcpy(x, y, (size_t)n_heads * k->dim * 4);
        free(y);
    }
    for (uint32_t h = 0; h < n_heads && (k->qk_norm == CU_QK_HEAD || k->qk_norm == CU_QK_EACH);
         h++) {
        struct cu_norm own = *norm;
        float *y = xcalloc(k->dim, 4);
        if (k->qk_norm == CU_QK_EACH) {
            own.weight += (size_t)h * k->dim;
            own.bias = NULL;
        }
        plain_norm(y, x + (size_t)h * k->dim, k->dim, &own, 32);
        check_near(y, x + (size_t)h * k->dim, k->dim, &own);
        memcpy(x + (size_t)h * k->dim, y, k->dim * 4);
        free(y);
    }
}

static void qk_once(const struct qk_case *k) {
    enum { PAGES = 7, TABLE = 5 };
    uint32_t dim = k->dim, pad = round_up(dim, 16), n_qk = k->n_heads + k->n_kv_heads,
             ld = (n_qk + k->n_kv_heads) * dim + below(9);
    uint32_t type = k->f32 ? CU_F32 : CU_BF16, group = below(2), first_page = below(1000),
             words[2 * TABLE];
    size_t size = type_size(type), page_bytes = (size_t)k->n_kv_heads * 2 * CU_KV_PAGE * pad * size,
           stride = page_bytes + 48;
    float *qkv = random_floats((size_t)k->n_rows * ld), *w = random_floats(2 * (size_t)n_qk * dim);
    float *cosines = random_floats((size_t)k->n_rows * k->half),
          *sines = random_floats((size_t)k->n_rows * k->half);
    unsigned char *arena = xmalloc(PAGES * stride);
    for (size_t i = 0; i < PAGES * stride; i++)
        arena[i] = (unsigned char)random_bits();
    for (uint32_t i = 0; i < 2 * TABLE; i++)
        words[i] = i == 0 || i % TABLE == 0
                       ? i / TABLE
                       : (words[i - 1] + 3) % PAGES; // different pages within a table
    struct cu_row *rows = xcalloc(k->n_rows, sizeof *rows);
    uint32_t pos = first_page * CU_KV_PAGE + below(3 * CU_KV_PAGE);
    for (uint32_t i = 0; i < k->n_rows;
         i++, pos++) // tables begin before words where first_page is large
        rows[i] = (struct cu_row){.pos = pos, .table = {0 - first_page, TABLE - first_page}};
    const struct cu_norm norms[2] = {
        {w, k->bias ? w + (size_t)n_qk * dim : NULL, 1e-6f, 1, k->kind},
        {w + (size_t)k->n_heads * dim, k->bias ? w + (size_t)(n_qk + k->n_heads) * dim : NULL,
         1e-5f, 0, k->kind}};

    struct dev_step s = dev_step(rows, k->n_rows, 0, words, 2 * TABLE);
    struct dev_buf dq = dev_new(qkv, (size_t)k->n_rows * ld * 4),
                   dw = dev_new(w, 2 * (size_t)n_qk * dim * 4);
    struct dev_buf dc = dev_new(cosines, (size_t)k->n_rows * k->half * 4),
                   ds = dev_new(sines, (size_t)k->n_rows * k->half * 4);
    struct dev_buf da = dev_new(arena, PAGES * stride);
    struct cu_qk_args a = {.step = s.step,
                           .qkv = dq.p,
                           .ld = ld,
                           .n_heads = k->n_heads,
                           .qk_norm = k->qk_norm,
                           .q_norm = norms[0],
                           .k_norm = norms[1],
                           .rotary_half = k->half,
                           .cosines = dc.p,
                           .sines = ds.p,
                           .kv = {.base = da.p,
                                  .page_stride = stride,
                                  .n_kv_heads = k->n_kv_heads,
                                  .head_dim = dim,
                                  .pad = pad,
                                  .f32 = k->f32,
                                  .group = group}};
    struct cu_norm *of_a[2] = {&a.q_norm, &a.k_norm};
    for (int i = 0; i < 2; i++) {
        of_a[i]->weight = (float *)dw.p + (norms[i].weight - w);
        of_a[i]->bias = k->bias ? (float *)dw.p + (norms[i].bias - w) : NULL;
        if (k->qk_norm == CU_QK_NONE) // then nothing of them counts
            *of_a[i] = (struct cu_norm){0};
    }
    dev_launch("k_qk", k->n_rows + 1, k->qk_norm == CU_QK_ALL ? 1 : 1 + below(4), CU_THREADS, &a);

    for (uint32_t i = 0; i < k->n_rows; i++) {
        float *q = qkv + (size_t)i * ld, *key = q + k->n_heads * dim, *value = q + n_qk * dim;
        uint32_t page = words[group * TABLE + rows[i].pos / CU_KV_PAGE - first_page],
                 at = rows[i].pos % CU_KV_PAGE;
        plain_heads(k, q, k->n_heads, &norms[0]);
        plain_heads(k, key, k->n_kv_heads, &norms[1]);
        rows_rope(q, n_qk, dim, 2 * k->half, cosines + (size_t)i * k->half,
                  sines + (size_t)i * k->half);
        for (uint32_t h = 0; h < k->n_kv_heads; h++)
            for (uint32_t d = 0; d < dim; d++) {
                void *head = arena + page * stride + (size_t)h * 2 * CU_KV_PAGE * pad * size;
                put(head, type, (size_t)at * pad + d, key[h * dim + d]);
                put(head, type, (size_t)CU_KV_PAGE * pad + (size_t)d * CU_KV_PAGE + at,
                    value[h * dim + d]);
            }
    }
    check_bytes(&dq, qkv, "q, k and v");
    check_bytes(&da, arena, "pages");
    dev_free(&dw);
    dev_free(&dc);
    dev_free(&ds);
    dev_step_free(&s);
    free(w);
    free(cosines);
    free(sines);
    free(rows);
}

static void queries_and_keys(void) {
    for (uint32_t i = 0; i < 120; i++) {
        uint32_t dim = i % 3 == 0 ? 64u << below(3) : 1 + below(160), group = 1 + below(4);
        struct qk_case k = {.n_kv_heads = 1 + below(3),
                            .dim = dim,
                            .half = i % 5 == 0 ? 0
                                    : below(2) ? dim / 2
                                               : below(dim / 2 + 1),
                            .n_rows = 1 + below(i % 7 == 0 ? 70 : 4),
                            .qk_norm = i % 4,
                            .kind = 1 + below(2),
                            .f32 = below(2),
                            .bias = below(2)};
        k.n_heads = k.n_kv_heads * group;
        qk_once(&k);
    }
}

int main(int argc, char **argv) {
    struct err e = {0};
    (void)argc;
    dev_open(argv);
    dev_must(kernels_init(&e), &e);
    RUN(begin);
    RUN(angles);
    RUN(norms);
    RUN(adds);
    RUN(queries_and_keys);
    cu_close(dev);
    return check_done();
}
