/* The checks of every variant of matmul and attention: against plain double arithmetic, and against
 * the variant itself.
 *
 * Tolerances are derived: a sum of n products in f32, in any order, is off by at most
 * (n + 2) * 2^-24 * sum |products| (Higham 2002, 3.5: gamma_n). That is far above what happens and
 * far below the error of a wrong index or a forgotten tail. A row alone and in a batch, and any
 * number of threads, must give the same bits. Inputs end at a page that may not be touched. The
 * including file defines _DEFAULT_SOURCE (MAP_ANONYMOUS).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TESTS_KERNEL_CHECKS_H
#define TESTS_KERNEL_CHECKS_H

#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "check.h"
#include "kernels/kernels.h"
#include "kernel_inputs.h"
#include "random.h"

/* Whether the set in use rounds x, queries and probabilities to bf16, where W or pages are bf16. */
static bool rounds_to_bf16(void) {
    return strcmp(kernels_isa(), "avx512bf16") == 0 || strncmp(kernels_isa(), "amx", 3) == 0;
}

/* What rounding x adds to the error of a product at most, and only where that is allowed: bf16 is
 * off by 2^-8. With F16 on AMX, x is the sum of two bf16, off by 2^-16; the product of the second
 * parts of x and W is left out, and each is at most 2^-8 of its number. */
static double rounding_of_x(enum dtype t, bool precise) {
    const bool amx = strncmp(kernels_isa(), "amx", 3) == 0;
    return precise ? 0 : t == DT_BF16 ? 0x1p-8 : t == DT_F16 && amx ? 0x1p-15 : 0;
}

static void compare_matmul(struct pool *p, size_t n_rows, size_t n_out, size_t n_in, enum dtype t,
                           bool precise) {
    struct mat w = mat_plain(NULL, t, n_out, n_in);
    float *values = xcalloc(n_out * n_in, sizeof *values), *bias = random_floats(n_out);
    struct guarded g =
        random_mat(&w, random_bits() % 2 ? random_bits() % 64 & ~(size_t)1 : 0, values);
    size_t ldx = n_in + random_bits() % 3, ldy = n_out + random_bits() % 3;
    struct guarded gx = guarded_new(((n_rows - 1) * ldx + n_in) * sizeof(float), 0);
    float *x = (void *)gx.p, *y = xcalloc(n_rows * ldy, sizeof *y);
    for (size_t i = 0; i < (n_rows - 1) * ldx + n_in; i++)
        x[i] = random_float();
    for (size_t i = 0; i < n_rows * ldy; i++)
        y[i] = 777;
    void *scratch = xaligned(64, matmul_scratch(n_rows, n_in));
    bool with_bias = random_bits() % 2;
    multiply(p, y, ldy, &w, with_bias ? bias : NULL,
             &(struct matmul_input){x, ldx, n_rows, precise, scratch});
    double unit = (double)(n_in + 2) * 0x1p-24 + rounding_of_x(t, precise);
    double worst = 0;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t o = 0; o < ldy; o++) {
            double sum = with_bias && o < n_out ? (double)bias[o] : 0, magnitude = fabs(sum);
            for (size_t k = 0; k < n_in && o < n_out; k++) {
                double product = (double)x[r * ldx + k] * (double)values[o * n_in + k];
                sum += product;
                magnitude += fabs(product);
            }
            double off = o < n_out ? fabs(sum - (double)y[r * ldy + o]) / (unit * magnitude + 1e-30)
                                   : (double)(y[r * ldy + o] != 777) *
                                         1e9; // nothing is written after the row
            worst = off > worst || off != off ? off : worst;
        }
    CHECK_MSG(worst <= 1, "%s: [%zu, %zu] x [%zu, %zu] dtype %d: off by %g times the bound",
              kernels_isa(), n_rows, n_in, n_out, n_in, t, worst);
    guarded_free(&g);
    guarded_free(&gx);
    free(values);
    free(bias);
    free(y);
    free(scratch);
}

static const enum dtype weight_types[] = {DT_F32, DT_F16, DT_BF16};

static inline void matmul_is_right(void) {
    struct pool *p = pool_new(2, NULL);
    for (size_t i = 0; i < (CHECKS_FEW ? 30 : 150); i++)
        for (size_t t = 0; t < 3; t++) {
            size_t big = i % 10 == 0;
            compare_matmul(p, 1 + random_bits() % (big ? 150 : 9),
                           1 + random_bits() % (big ? 130 : 40),
                           1 + random_bits() % (big ? 1200 : 200), weight_types[t], i % 2);
        }
    pool_free(p);
}

/* The same row gives the same bits alone and among others, whatever the threads. */
static inline void rows_have_same_bits(size_t rows, size_t in) {
    enum { OUT = 67 };
    struct pool *pools[] = {pool_new(1, NULL), pool_new(2, NULL), pool_new(3, NULL)};
    float *x = random_floats(rows * in), *values = xcalloc(OUT * in, sizeof *values);
    float *alone = xcalloc(rows * OUT, sizeof *alone), *batch = xcalloc(rows * OUT, sizeof *batch);
    void *scratch = xaligned(64, matmul_scratch(rows, in));
    for (size_t t = 0; t < 3; t++)
        for (int precise = 0; precise < 2; precise++) {
            struct mat w = mat_plain(NULL, weight_types[t], OUT, in);
            struct guarded g = random_mat(&w, 2, values);
            for (size_t r = 0; r < rows; r++)
                multiply(pools[0], alone + r * OUT, OUT, &w, NULL,
                         &(struct matmul_input){x + r * in, in, 1, precise, scratch});
            for (size_t i = CHECKS_FEW ? 2 : 0; i < 3; i++)
                for (size_t n = 1 + CHECKS_FEW; n <= rows; n += n < 12       ? 1 + CHECKS_FEW
                                                                : CHECKS_FEW ? 6
                                                                             : 29) {
                    memset(batch, 0xFF, rows * OUT * sizeof *batch);
                    for (size_t r = 0; r < rows; r += n)
                        multiply(pools[i], batch + r * OUT, OUT, &w, NULL,
                                 &(struct matmul_input){x + r * in, in, rows - r < n ? rows - r : n,
                                                        precise, scratch});
                    CHECK_MSG(memcmp(alone, batch, rows * OUT * sizeof *batch) == 0,
                              "%s: dtype %d, %zu rows at once, %zu threads: other bits",
                              kernels_isa(), weight_types[t], n, i + 1);
                }
            guarded_free(&g);
        }
    for (size_t i = 0; i < 3; i++)
        pool_free(pools[i]);
    free(x);
    free(values);
    free(alone);
    free(batch);
    free(scratch);
}
static inline void matmul_same_bits(void) {
    rows_have_same_bits(CHECKS_FEW ? 19 : 70, 2101); // rows that are cut, as bf16 too
    rows_have_same_bits(CHECKS_FEW ? 26 : 70, 333);  // enough rows for W to be packed
}

/* Several matrices in one job give what each gives alone, whatever their types and wherever pieces
 * are cut. Activated and gated outputs are those of the row operations. */
static inline void products_together_are_each(void) {
    enum { N = 7, GATED = 4, ACTIVATED = 6, MOST_OUT = 113, IN = 203 };
    static const enum dtype types[N] = {DT_BF16, DT_BF16, DT_F16, DT_F32, DT_BF16, DT_F32, DT_F16};
    static const enum dtype up_types[N] = {[4] = DT_BF16, [5] = DT_BF16};
    static const size_t outs[N] = {50, 7, 33, 1, MOST_OUT, 61, 29};
    static const enum activation acts[] = {ACT_SILU, ACT_GELU_TANH};
    struct pool *p = pool_new(2, NULL);
    for (size_t n_rows = 1; n_rows < 120; n_rows += n_rows < 20 ? 5 : 40) {
        struct mat w[N], up[N];
        struct guarded g[N], g_up[N];
        struct matmul_product products[N];
        float *x = random_floats(n_rows * IN), *values = xcalloc(MOST_OUT * IN, sizeof *values),
              *bias = random_floats(MOST_OUT);
        float *want[N], *want_up = xcalloc(n_rows * MOST_OUT, sizeof *want_up);
        void *scratch = xaligned(64, matmul_scratch(n_rows, IN));
        const struct matmul_input in = {x, IN, n_rows, false, scratch};
        for (size_t i = 0; i < N; i++) {
            w[i] = mat_plain(NULL, types[i], outs[i], IN);
            g[i] = random_mat(&w[i], 0, values);
            want[i] = xcalloc(n_rows * outs[i], sizeof(float));
            products[i] = (struct matmul_product){.y = xcalloc(n_rows * outs[i], sizeof(float)),
                                                  .ldy = outs[i],
                                                  .w = &w[i],
                                                  .bias = i % 2 ? bias : NULL};
            multiply(p, want[i], outs[i], &w[i], products[i].bias, &in);
            if (i >= GATED)
                products[i].act = acts[i % 2];
            if (i >= GATED && i < ACTIVATED) {
                up[i] = mat_plain(NULL, up_types[i], outs[i], IN);
                g_up[i] = random_mat(&up[i], 0, values);
                products[i].up = &up[i];
                products[i].up_bias = i % 2 ? NULL : bias;
                multiply(p, want_up, outs[i], &up[i], products[i].up_bias, &in);
                rows_activate_mul(acts[i % 2], want[i], outs[i], want_up, outs[i], n_rows, outs[i]);
            } else if (i >= ACTIVATED) {
                rows_activate(acts[i % 2], want[i], outs[i], n_rows, outs[i]);
            }
        }
        matmul(p, products, N, &in);
        for (size_t i = 0; i < N; i++) {
            CHECK_MSG(memcmp(products[i].y, want[i], n_rows * outs[i] * sizeof(float)) == 0,
                      "%s: %zu rows, matrix %zu: other bits", kernels_isa(), n_rows, i);
            guarded_free(&g[i]);
            if (products[i].up)
                guarded_free(&g_up[i]);
            free(products[i].y);
            free(want[i]);
        }
        free(x);
        free(values);
        free(bias);
        free(want_up);
        free(scratch);
    }
    pool_free(p);
}

struct attn_case {
    size_t n_seq, n_heads, n_kv_heads, k_dim, v_dim, window;
    enum kv_type type;
    float softcap;
};

/* The reference: plain softmax in double over the stored values. */
static double attention_value(const float *q, const float *k, const float *v,
                              const struct attn_case *c, size_t first, size_t last, size_t d,
                              double scale, double *bound) {
    double max = -INFINITY, sum = 0, out = 0, magnitude = 0;
    double *s = xcalloc(last + 1, sizeof *s);
    size_t ldk = c->n_kv_heads * c->k_dim, ldv = c->n_kv_heads * c->v_dim;
    for (size_t i = first; i <= last; i++) {
        for (size_t j = 0; j < c->k_dim; j++)
            s[i] += (double)q[j] * (double)k[i * ldk + j];
        s[i] *= scale;
        if (c->softcap > 0)
            s[i] = (double)c->softcap * tanh(s[i] / (double)c->softcap);
        max = s[i] > max ? s[i] : max;
    }
    for (size_t i = first; i <= last; i++) {
        double w = exp(s[i] - max);
        sum += w;
        out += w * (double)v[i * ldv + d];
        magnitude += w * fabs((double)v[i * ldv + d]);
    }
    free(s);
    // |score| <= k_dim * scale here; its error, (k_dim + 4) 2^-24 of that, enters as the
    // error of e^score; then the two sums over the positions, and 8 roundings for e^x, its
    // shrinking and the division.
    double score_off = (double)(c->k_dim + 4) * (double)c->k_dim * scale + 8;
    *bound = 2 * (score_off + (double)(last - first + 1)) * 0x1p-24 * magnitude / sum;
    // queries and probabilities rounded to bf16: 2^-9 of each; the former enters as the error of
    // e^score, above and below
    if (c->type == KV_BF16 && rounds_to_bf16())
        *bound += (2 * (double)c->k_dim * scale + 1) * 0x1p-9 * magnitude / sum;
    return out / sum;
}

/* Some of the rows, each of another sequence as far as attention knows (a table of its own), give
 * the same bits. */
static void compare_decoding(struct pool *p, const struct kv_layer *kv, const struct attn_row *rows,
                             size_t n, const float *out, const float *q, const struct attn_case *c,
                             float scale) {
    enum { SEQS = 5 };
    size_t n_pages = (n + KV_PAGE - 1) / KV_PAGE, ldq = c->n_heads * c->k_dim,
           ldo = c->n_heads * c->v_dim;
    struct attn_row of[SEQS];
    float *queries = xcalloc(SEQS * ldq, sizeof *queries), *got = xcalloc(SEQS * ldo, sizeof *got);
    for (size_t i = 0; i < SEQS; i++) {
        size_t from = (n - 1) * (SEQS - 1 - i) / (SEQS - 1);
        uint32_t *pages = xcalloc(n_pages, sizeof *pages);
        memcpy(pages, rows[from].pages, n_pages * sizeof *pages);
        of[i] = (struct attn_row){pages, rows[from].first, rows[from].last, rows[from].pos};
        memcpy(queries + i * ldq, q + from * ldq, ldq * sizeof *q);
    }
    void *scratch =
        xaligned(64, attention_scratch(pool_threads(p), SEQS, c->n_heads, c->k_dim, c->v_dim));
    attention(p, &(struct attn_call){.kv = kv,
                                     .rows = of,
                                     .n_rows = SEQS,
                                     .out = got,
                                     .ldo = ldo,
                                     .q = queries,
                                     .ldq = ldq,
                                     .n_heads = c->n_heads,
                                     .scale = scale,
                                     .softcap = c->softcap,
                                     .scratch = scratch});
    for (size_t i = 0; i < SEQS; i++) {
        CHECK_MSG(memcmp(got + i * ldo, out + of[i].last * ldo, ldo * sizeof *got) == 0,
                  "%s: position %u of %zu among other sequences: other bits", kernels_isa(),
                  of[i].last, n);
        free((uint32_t *)(uintptr_t)of[i].pages);
    }
    free(queries);
    free(got);
    free(scratch);
}

/* x [n, dim], each row the key or value of a head, as pages of a type hold them. */
static void as_stored(float *x, size_t n, size_t dim, enum kv_type t) {
    for (size_t i = 0; i < n * dim && t == KV_BF16; i++)
        x[i] = f32_from_bf16(bf16_from_f32(x[i]));
    for (size_t g = 0; g < n * kv_i8_groups(dim) && t == KV_I8; g++) {
        const size_t first = g % kv_i8_groups(dim) * KV_I8_GROUP, left = dim - first,
                     of_group = left < KV_I8_GROUP ? left : KV_I8_GROUP;
        float most = 0, *group = x + g / kv_i8_groups(dim) * dim + first;
        for (size_t i = 0; i < of_group; i++)
            most = fabsf(group[i]) > most ? fabsf(group[i]) : most;
        float scale = f32_from_bf16(bf16_from_f32(most / 127));
        if (scale < most / 127)
            scale = f32_from_bf16((uint16_t)(bf16_from_f32(scale) + 1));
        for (size_t i = 0; i < of_group; i++)
            group[i] = rintf(group[i] * (1 / scale)) * scale;
    }
}

static void compare_attention(struct pool *p, const struct attn_case *c) {
    size_t n = c->n_seq, ldk = c->n_kv_heads * c->k_dim, ldv = c->n_kv_heads * c->v_dim,
           ldq = c->n_heads * c->k_dim, ldo = c->n_heads * c->v_dim;
    size_t n_pages = (n + KV_PAGE - 1) / KV_PAGE;
    struct kv_layer kv = {
        .n_kv_heads = c->n_kv_heads, .k_dim = c->k_dim, .v_dim = c->v_dim, .type = c->type};
    size_t page_bytes = kv_page_bytes(kv.n_kv_heads, c->k_dim, c->v_dim, kv.type),
           runs = (n_pages + 1) / 2;
    kv.run = 2; // before each run is a page of another layer
    kv.run_stride = 3 * page_bytes;
    struct guarded g = guarded_new(runs * kv.run_stride, 0);
    kv.base = g.p + page_bytes;
    memset(g.p, 0xFF, runs * kv.run_stride); // NaN: a read of what was not stored shows
    uint32_t *pages = xcalloc(n_pages, sizeof *pages);
    for (size_t i = 0; i < n_pages; i++) // backwards
        pages[i] = (uint32_t)(n_pages - 1 - i);
    struct attn_row *rows = xcalloc(n, sizeof *rows);
    float *q = random_floats(n * ldq), *k = random_floats(n * ldk), *v = random_floats(n * ldv);
    for (size_t i = 0; i < n; i++) {
        rows[i] = (struct attn_row){pages, 0, (uint32_t)i, (uint32_t)i};
        if (c->window && i >= c->window)
            rows[i].first = (uint32_t)(i - c->window + 1);
    }
    kv_store(&kv, rows, n, k, ldk, v, ldv);
    as_stored(k, n * c->n_kv_heads, c->k_dim, c->type);
    as_stored(v, n * c->n_kv_heads, c->v_dim, c->type);
    float *out = xcalloc(n * ldo, sizeof *out), *alone = xcalloc(ldo, sizeof *alone),
          scale = 1 / sqrtf((float)c->k_dim);
    void *scratch =
        xaligned(64, attention_scratch(pool_threads(p), n, c->n_heads, c->k_dim, c->v_dim));
    struct attn_call call = {.kv = &kv,
                             .rows = rows,
                             .n_rows = n,
                             .out = out,
                             .ldo = ldo,
                             .q = q,
                             .ldq = ldq,
                             .n_heads = c->n_heads,
                             .scale = scale,
                             .softcap = c->softcap,
                             .scratch = scratch};
    attention(p, &call);
    for (size_t i = 0; i < n; i += 1 + n / 23) {
        for (size_t h = 0; h < c->n_heads; h++) {
            size_t kv_h = h / (c->n_heads / c->n_kv_heads);
            double bound;
            for (size_t d = 0; d < c->v_dim; d += 1 + c->v_dim / 3) {
                double want = attention_value(q + i * ldq + h * c->k_dim, k + kv_h * c->k_dim,
                                              v + kv_h * c->v_dim, c, rows[i].first, rows[i].last,
                                              d, (double)scale, &bound);
                double got = (double)out[i * ldo + h * c->v_dim + d];
                CHECK_MSG(fabs(got - want) <= bound,
                          "%s: position %zu of %zu, head %zu of %zu/%zu, %zu of %zu: %g, not %g",
                          kernels_isa(), i, n, h, c->n_heads, c->n_kv_heads, d, c->v_dim, got,
                          want);
            }
        }
        call.rows = rows + i; // all heads of one row
        call.n_rows = 1;
        call.out = alone;
        call.q = q + i * ldq;
        attention(p, &call);
        CHECK_MSG(memcmp(alone, out + i * ldo, ldo * sizeof *out) == 0,
                  "%s: position %zu alone: other bits", kernels_isa(), i);
    }
    compare_decoding(p, &kv, rows, n, out, q, c, scale);
    guarded_free(&g);
    free(pages);
    free(rows);
    free(q);
    free(k);
    free(v);
    free(out);
    free(alone);
    free(scratch);
}

static inline void attention_is_right(void) {
    static const struct attn_case cases[] = {
        {1, 1, 1, 6, 6, 0, KV_F32, 0},
        {64, 4, 2, 16, 16, 0, KV_F32, 0},
        {65, 4, 4, 6, 6, 0, KV_BF16, 0},
        {200, 9, 3, 64, 64, 0, KV_BF16, 0},
        {150, 8, 1, 72, 72, 50, KV_F32, 0},
        {130, 4, 2, 80, 80, 64, KV_BF16, 0},
        {190, 4, 2, 32, 32, 0, KV_F32, 5},
        {90, 10, 2, 5, 5, 11, KV_BF16, 0},
        {100, 6, 2, 256, 256, 7, KV_BF16, 2},
        {700, 2, 1, 8, 8, 0, KV_BF16, 0},
        {2100, 3, 3, 8, 8, 0, KV_BF16, 0},
        {1100, 2, 1, 6, 6, 0, KV_F32, 0},
        {3200, 4, 2, 4, 4, 1500, KV_BF16, 0},
        {200, 9, 3, 64, 64, 0, KV_I8, 0},
        {150, 8, 1, 72, 40, 50, KV_I8, 3},
        {90, 10, 2, 5, 7, 11, KV_I8, 0},
        {1100, 2, 1, 6, 6, 0, KV_I8, 0},
        // keys and values of two sizes
        {190, 8, 2, 24, 16, 0, KV_F32, 0},
        {150, 4, 4, 12, 40, 30, KV_BF16, 0},
        {700, 3, 1, 5, 8, 0, KV_BF16, 0},
        {9300, 2, 1, 3, 3, 7000, KV_BF16, 0}, // the last: emulated instructions take minutes
    };
    for (size_t threads = 1 + CHECKS_FEW; threads <= 3 - CHECKS_FEW; threads++) {
        struct pool *p = pool_new(threads, NULL);
        for (size_t i = 0; i < sizeof cases / sizeof *cases - CHECKS_FEW; i++)
            compare_attention(p, &cases[i]);
        pool_free(p);
    }
}

#endif
