/* AMX: products of F16 and E4M3 weights by bf16 tiles, against a plain reference of the order that
 * common/kernels/matmul_amx_parts_tmpl.h says. The bits must be the same; only of NaN it is not
 * said which one comes out. Where the CPU has AMX, its own tiles are checked, too.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // kernel_inputs.h
#include "../lib/check.h"

#define CHECKS_FEW 1
#include "../lib/kernel_fp8_checks.h"
#include "../lib/kernel_inputs.h"
#include "../lib/tile_reference.h"
#include "kernels/table.h"
#include "kernels/x86.h"

static bool has(const char *isa) {
    for (const char *const *i = kernels_isas(); *i; i++)
        if (strcmp(*i, isa) == 0)
            return true;
    return false;
}

/* ---- The reference ---- */

/* W as one or two bf16, and the scale of each. */
struct split {
    uint16_t *w[2]; // [n_out, n_in]
    size_t parts;
};

/* f is the sum of *first, f rounded to 8 bits, half away from zero, and of *second. */
static void split_weight(double f, uint16_t *first, uint16_t *second) {
    int exponent;
    const double fraction = frexp(f, &exponent),
                 near = copysign(floor(fabs(fraction) * 256 + 0.5), f);
    *first = bf16_from_f32((float)ldexp(near, exponent - 8));
    *second = bf16_from_f32((float)(f - ldexp(near, exponent - 8)));
    if (isfinite(f))
        CHECK((double)f32_from_bf16(*first) + (double)f32_from_bf16(*second) == f);
    else
        *first = *second = 0x7FC0;
}

static struct split split_of(const struct mat *w) {
    const size_t n = w->n_out * w->n_in;
    struct split s = {.parts = w->layout == MAT_F16 ? 2 : 1};
    for (size_t p = 0; p < 2; p++)
        s.w[p] = xcalloc(n, sizeof *s.w[p]);
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const unsigned char *)w->data + 2 * i * (s.parts - 1), sizeof half);
        if (s.parts == 2)
            split_weight(isfinite(f32_from_f16(half)) ? (double)f16_value(half) : (double)NAN,
                         &s.w[0][i], &s.w[1][i]);
        else
            s.w[0][i] = bf16_from_f32(f32_from_e4m3(((const uint8_t *)w->data)[i]));
    }
    return s;
}

/* The second part of x. */
static uint16_t rest_of(float x) {
    const float first = f32_from_bf16(bf16_from_f32(x));
    return isfinite(first) ? bf16_from_f32(x - first) : 0;
}

/* One output: w of one row; `scales` of its groups of `group` inputs. */
static float output_of(const struct split *s, size_t row, const float *x, size_t n_in,
                       const float *scales, size_t group) {
    float y = 0, c = 0;
    for (size_t k = 0; k < n_in; k += 32) {
        const size_t n = n_in - k < 32 ? n_in - k : 32;
        uint16_t first[32], rest[32];
        for (size_t i = 0; i < n; i++) {
            first[i] = bf16_from_f32(x[k + i]);
            rest[i] = rest_of(x[k + i]);
        }
        for (size_t p = 0; p < s->parts; p++)
            c = summed(c, s->w[p] + row * n_in + k, 1, first, 1, n);
        c = summed(c, s->w[0] + row * n_in + k, 1, rest, 1, n);
        if ((k + n) % group == 0 || k + n == n_in) {
            y = fmaf(c, scales ? scales[k / group] : 1, y);
            c = 0;
        }
    }
    return y;
}

/* ---- Products ---- */

static float random_x(enum kind kind) {
    const float f = f32_from_bf16(random_half(kind));
    return kind == ANY       ? f32_from_bits((uint32_t)random_bits())
           : kind == SPECIAL ? f
                             : f * (1 + random_float() * 0x1p-7f);
}

/* Rows [r, r + n) by the set in use. */
static void compare_rows(struct pool *p, const struct mat *w, const float *bias, const float *x,
                         size_t r, size_t n, const float *want) {
    const size_t ldy = w->n_out + 1;
    float *y = xcalloc(n * ldy, sizeof *y);
    void *scratch = xaligned(64, matmul_scratch(n, w->n_in));
    for (size_t i = 0; i < n * ldy; i++)
        y[i] = 777;
    multiply(p, y, ldy, w, bias,
             &(struct matmul_input){x + r * w->n_in, w->n_in, n, false, scratch});
    for (size_t i = 0; i < n * ldy; i++) {
        const float right =
            i % ldy == w->n_out ? 777 : want[r * w->n_out + i / ldy * w->n_out + i % ldy];
        CHECK_MSG(same(y[i], right),
                  "%s: layout %d, rows [%zu, %zu), [%zu, %zu], row %zu, "
                  "output %zu: %a, not %a",
                  kernels_isa(), w->layout, r, r + n, w->n_out, w->n_in, i / ldy, i % ldy,
                  (double)y[i], (double)right);
    }
    free(y);
    free(scratch);
}

static void compare_product(struct pool *const *pools, const struct mat *w, size_t n_rows,
                            enum kind kind) {
    const size_t n_out = w->n_out, n_in = w->n_in;
    float *x = xcalloc(n_rows * n_in, sizeof *x), *want = xcalloc(n_rows * n_out, sizeof *want),
          *bias = random_bits() % 2 ? random_floats(n_out) : NULL;
    for (size_t i = 0; i < n_rows * n_in; i++)
        x[i] = random_x(kind);
    struct split s = split_of(w);
    const struct mat_quant *q = w->quant;
    for (size_t i = 0; i < n_rows * n_out; i++) {
        const size_t o = i % n_out;
        const float *scales = q ? (const float *)q->scales + o / q->block_rows * q->n_groups : NULL;
        const float y = output_of(&s, o, x + i / n_out * n_in, n_in, scales, q ? q->group : n_in);
        want[i] = bias ? y + bias[o] : y;
    }
    for (size_t p = 0; p < 2; p++) {
        const size_t r = random_bits() % n_rows, n = 1 + random_bits() % (n_rows - r);
        compare_rows(pools[p], w, bias, x, 0, n_rows, want);
        compare_rows(pools[p], w, bias, x, r, n, want);
        compare_rows(pools[p], w, bias, x, r, 1, want);
    }
    for (size_t p = 0; p < 2; p++)
        free(s.w[p]);
    free(x);
    free(want);
    free(bias);
}

static void compare_f16(struct pool *const *pools, size_t n_rows, size_t n_out, size_t n_in,
                        enum kind kind) {
    struct mat w = mat_plain(NULL, DT_F16, n_out, n_in);
    struct guarded g = guarded_new(n_out * n_in * 2, 0);
    w.data = g.p;
    for (size_t i = 0; i < n_out * n_in; i++) {
        uint16_t half = (uint16_t)random_bits(); // largest, subnormal and -0 are among them
        if (kind != ANY && (half & 0x7C00) == 0x7C00)
            half = (uint16_t)(half & 0x83FF);
        memcpy(g.p + 2 * i, &half, sizeof half);
    }
    compare_product(pools, &w, n_rows, kind);
    guarded_free(&g);
}

static void compare_f8(struct pool *const *pools, size_t n_rows, size_t n_out, size_t n_in,
                       enum kind kind) {
    static const size_t groups[] = {0, 32, 64, 128, 512, 4096};
    struct fp8_mat *m =
        fp8_mat_new(n_out, n_in, groups[random_bits() % 6], 1 + random_bits() % (2 * n_out));
    if (kind == ANY)
        m->g.p[random_bits() % (n_out * n_in)] = random_bits() % 2 ? 0x7F : 0xFF; // NaN
    compare_product(pools, &m->w, n_rows, kind);
    fp8_mat_free(m);
}

static void check_products(const char *isa) {
    struct pool *pools[] = {pool_new(1, NULL), pool_new(3, NULL)};
    kernels_use(isa);
    for (size_t i = 0; i < (CHECK_SLOW ? 40 : 120) && check_here < 20; i++) {
        const size_t n_rows = 1 + random_bits() % (i % 8 == 0 ? 75 : 19),
                     n_out = 1 + random_bits() % (i % 4 == 0 ? 150 : 40),
                     n_in = 1 + random_bits() % (i % 20 == 0 ? 1500 : 150);
        compare_f16(pools, n_rows, n_out, n_in, (enum kind)(i % KINDS));
        compare_f8(pools, n_rows, n_out, n_in, (enum kind)(i % KINDS));
    }
    if (!CHECK_SLOW) { // more rows than a block of x has, of few inputs and of many
        compare_f16(pools, 1100, 3, 40, NEAR_1);
        compare_f8(pools, 1100, 3, 40, NEAR_1);
        compare_f16(pools, 70, 17, 9000, NEAR_1);
        compare_f8(pools, 70, 17, 9000, NEAR_1);
    }
    pool_free(pools[0]);
    pool_free(pools[1]);
}

#if KERNELS_AMX && defined(__x86_64__)
/* Which matrices tiles multiply. */
static void check_table(const char *isa) {
    kernels_use("avx512");
    CHECK(!kernel.matmul_own[MAT_F16].multiply && !kernel.matmul_own[MAT_F8].multiply);
    kernels_use(isa);
    const struct matmul_kernel *f16 = &kernel.matmul_own[MAT_F16], *f8 = &kernel.matmul_own[MAT_F8];
    CHECK(f16->multiply && f8->multiply && f16->multiply != f8->multiply);
    CHECK(f16->pack_x == f8->pack_x && f16->pack_x != kernel.matmul_own[MAT_BF16].pack_x);
    CHECK(f16->least_rows == 0 && f8->least_rows == 0 && !f16->takes);
    CHECK(!kernel.matmul_own[MAT_NF4].multiply && !kernel.matmul_own[MAT_F32].multiply);
    static const struct {
        size_t group;
        bool takes;
    } cases[] = {{128, true}, {32, true}, {16, false}, {100, false}, {300, true}, {4096, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fp8_mat *m = fp8_mat_new(3, 300, cases[i].group, 2);
        CHECK(f8->takes(&m->w) == cases[i].takes);
        fp8_mat_free(m);
    }
    CHECK(f16->x_bytes(SIZE_MAX / 64, 64) == SIZE_MAX);
    for (size_t n = 1; n < 100000; n = n * 3 + 1) {
        const size_t rows = f16->block_rows(n);
        CHECK(rows >= 32 && rows <= 512 && rows % 32 == 0);
    }
}

static void emulated_table(void) {
    check_table("amx-emulated");
}
static void emulated_products(void) {
    check_products("amx-emulated");
}
static void table_of_the_cpu(void) {
    check_table("amx");
}
static void products_of_the_cpu(void) {
    check_products("amx");
}
#endif

int main(void) {
#if KERNELS_AMX && defined(__x86_64__)
    if (has("amx-emulated")) {
        RUN(emulated_table);
        RUN(emulated_products);
    } else {
        SKIP(emulated_products, "this CPU has no AVX512-BF16");
    }
    if (has("amx")) {
        RUN(table_of_the_cpu);
        RUN(products_of_the_cpu);
    } else {
        SKIP(products_of_the_cpu, "this CPU has no AMX");
    }
#else
    SKIP(products, "no AMX in this build");
#endif
    return check_done();
}
