/* common/kernels: every variant that this CPU has. The checks of matmul and attention are in
 * tests/lib/kernel_checks.h; here are the choice of a variant and the row operations.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // kernel_checks.h
#include "../lib/check.h"
#include "../lib/kernel_checks.h"
#include "../lib/kernel_fp8_checks.h"
#include "kernels/approx.h"
#include "kernels/isa.h"

static void exp_tanh_and_normal(void) {
    double worst = 0, worst_tanh = 0;
    for (double x = -87.3; x < 88.3; x += 0.00071) {
        double e = fabs((double)approx_exp((float)x) / exp((double)(float)x) - 1);
        worst = e > worst ? e : worst;
    }
    for (double x = -12; x < 12; x += 0.00013) {
        double e = fabs((double)approx_tanh((float)x) / tanh((double)(float)x) - 1);
        worst_tanh = e > worst_tanh ? e : worst_tanh;
    }
    CHECK_MSG(worst < 1.2e-7, "e^x is off by %g", worst);
    CHECK_MSG(worst_tanh < 4e-7, "tanh is off by %g", worst_tanh);
    CHECK(approx_exp(0) == 1 && approx_exp(-1e30f) < 1.3e-38f && approx_exp(1e30f) > 2e38f &&
          isnan(approx_exp(NAN)));
    double worst_above = 0;
    for (double x = 0; x < 14; x += 0.00013) {
        double e =
            fabs((double)approx_normal_above((float)x) - erfc((double)(float)x / sqrt(2)) / 2);
        worst_above = e > worst_above ? e : worst_above;
    }
    CHECK_MSG(worst_above < 1e-7, "the part above is off by %g", worst_above);
    CHECK(approx_normal_above(0) == 0.5f && approx_normal_above(INFINITY) < 1e-35f &&
          isnan(approx_normal_above(NAN)));
    CHECK(approx_tanh(0) == 0 && approx_tanh(100) == 1 && approx_tanh(-INFINITY) == -1 &&
          isnan(approx_tanh(NAN)));
    for (uint32_t h = 0; h < 0x10000; h++) {
        if ((h & 0x7C00) != 0x7C00 && f32_from_f16((uint16_t)h) != f16_value((uint16_t)h))
            CHECK_MSG(0, "F16 %04X is %g", h, (double)f32_from_f16((uint16_t)h));
        if ((h & 0x7F80) != 0x7F80 && bf16_from_f32(f32_from_bf16((uint16_t)h)) != h)
            CHECK_MSG(0, "BF16 %04X does not come back", h);
    }
    CHECK(f32_from_f16(0xFC00) == -INFINITY && isnan(f32_from_f16(0x7C01)));
    CHECK(bf16_from_f32(INFINITY) == 0x7F80 &&
          isnan(f32_from_bf16(bf16_from_f32(f32_from_bits(0x7F800001)))));
    CHECK(bf16_from_f32(f32_from_bits(0x3F808000)) == 0x3F80 &&
          bf16_from_f32(f32_from_bits(0x3F818000)) == 0x3F82);
}

/* Row operations against double; each is a handful of roundings per element, and norms a sum of n
 * squares. */
static void row_operations(void) {
    for (size_t n = 1; n < 400; n += 1 + n / 5) {
        enum { ROWS = 3 };
        size_t ld = n + 2;
        float *x = random_floats(ROWS * ld), *y = random_floats(ROWS * ld), *w = random_floats(n),
              *b = random_floats(n);
        double unit = 0x1p-24 * (double)(n + 8);
        const struct rows_norm rms = {.weight = w, .offset = 1, .eps = 1e-5f},
                               layer = {.weight = w, .bias = b, .eps = 1e-5f};
        rows_rmsnorm(y, ld, x, ld, ROWS, n, &rms);
        for (size_t r = 0; r < ROWS; r++) {
            double s = 0, mean = 0, var = 0, *xs = xcalloc(n, sizeof *xs);
            for (size_t i = 0; i < n; i++) {
                xs[i] = (double)x[r * ld + i];
                s += xs[i] * xs[i];
                mean += xs[i] / (double)n;
            }
            for (size_t i = 0; i < n; i++) {
                var += (xs[i] - mean) * (xs[i] - mean) / (double)n;
                double want = xs[i] / sqrt(s / (double)n + 1e-5) * (1 + (double)w[i]);
                CHECK_MSG(fabs((double)y[r * ld + i] - want) <= unit * fabs(want) + 1e-30,
                          "rmsnorm %zu", n);
            }
            float one[400];
            rows_layernorm(one, n, x + r * ld, ld, 1, n, &layer);
            for (size_t i = 0; i < n; i++) {
                double scale = 1 / sqrt(var + 1e-5),
                       want = (xs[i] - mean) * scale * (double)w[i] + (double)b[i];
                // the mean's error enters in full (n = 1: x - mean is nothing but that)
                CHECK_MSG(fabs((double)one[i] - want) <=
                              2 * unit * (fabs(want) + fabs((double)b[i]) + scale),
                          "layernorm %zu: %g, not %g", n, (double)one[i], want);
            }
            free(xs);
        }
        memcpy(y, x, ROWS * ld * sizeof *x);
        rows_add_scaled(y, ld, x, ld, ROWS, n, 0.5f);
        for (size_t i = 0; i < n; i++)
            CHECK(y[ld + i] == x[ld + i] + 0.5f * x[ld + i]);
        CHECK(y[n] == x[n]);
        free(x);
        free(y);
        free(w);
        free(b);
    }
}

static double activation_value(enum activation a, double x) {
    switch (a) {
    case ACT_SILU:
        return x / (1 + exp(-x));
    case ACT_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979324) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    default:
        return x > 0 ? x : 0;
    }
}

/* Absolute 1e-6 * (1 + |x|): GELU's 1 + tanh cancels for negative x, so no relative bound holds
 * there. */
static void activations(void) {
    enum { N = 1003 };
    float x[N], gate[N], up[N];
    for (int a = ACT_SILU; a <= ACT_RELU; a++) {
        for (size_t i = 0; i < N; i++) {
            x[i] = gate[i] = random_float() * 12;
            up[i] = random_float();
        }
        rows_activate_mul((enum activation)a, gate, N, up, N, 1, N - 1);
        CHECK(gate[N - 1] == x[N - 1]);
        for (size_t i = 0; i + 1 < N; i++) {
            double want = activation_value((enum activation)a, (double)x[i]);
            CHECK_MSG(fabs((double)gate[i] - want * (double)up[i]) <=
                          1e-6 * (1 + fabs((double)x[i])),
                      "activation %d of %g times %g is %g", a, (double)x[i], (double)up[i],
                      (double)gate[i]);
        }
        rows_activate((enum activation)a, x, 1, N, 1);
        for (size_t i = 0; i + 1 < N; i++)
            CHECK(gate[i] == x[i] * up[i]);
    }
    for (size_t i = 0; i < N; i++)
        x[i] = gate[i] = random_float() * 90;
    rows_softcap(gate, N, 30);
    for (size_t i = 0; i < N; i++)
        CHECK(fabs((double)gate[i] - 30 * tanh((double)x[i] / 30)) < 2e-5);
}

static void rotary(void) {
    float x[2 * 10], was[2 * 10], cosine[3], sine[3];
    for (size_t i = 0; i < 20; i++)
        x[i] = was[i] = random_float();
    for (size_t i = 0; i < 3; i++) {
        cosine[i] = cosf((float)i + 1);
        sine[i] = sinf((float)i + 1);
    }
    rows_rope(x, 2, 10, 6, cosine, sine);
    for (size_t h = 0; h < 20; h += 10) {
        for (size_t i = 0; i < 3; i++) {
            CHECK(x[h + i] == was[h + i] * cosine[i] - was[h + i + 3] * sine[i]);
            CHECK(x[h + i + 3] == was[h + i + 3] * cosine[i] + was[h + i] * sine[i]);
        }
        CHECK(memcmp(x + h + 6, was + h + 6, 4 * sizeof *x) == 0);
    }
}

static void choosing(void) {
    struct err e = {0};
    setenv("LLM_ISA", "c", 1);
    CHECK(kernels_init(&e) == 0);
    CHECK_STR(kernels_isa(), "c");
    setenv("LLM_ISA", "sse9", 1);
    CHECK(kernels_init(&e) == -1 && e.code == EXIT_USAGE && strstr(e.msg, "sse9"));
    unsetenv("LLM_ISA");
    CHECK(kernels_init(&e) == 0);
    const char *const *isas = kernels_isas();
    CHECK_STR(isas[0], "baseline");
    size_t n = 0;
    while (isas[n])
        n++;
    struct isa_cpu cpu = isa_cpu();
    while (strcmp(isas[n - 1], "amx-emulated") == 0 ||
           (strcmp(isas[n - 1], "avx512bf16") == 0 && isa_slow_bf16(&cpu)))
        n--;
    CHECK_STR(kernels_isa(), isas[n - 1]);
    if (cpu.avx512bf16) { // LLM_ISA has the last word
        setenv("LLM_ISA", "avx512bf16", 1);
        CHECK(kernels_init(&e) == 0);
        CHECK_STR(kernels_isa(), "avx512bf16");
        unsetenv("LLM_ISA");
        CHECK(kernels_init(&e) == 0);
    }
}

/* The default follows from cpuid alone. */
static void slow_bf16(void) {
    const struct isa_cpu emerald = {.intel = true, .family = 6, .model = 207},
                         granite = {.intel = true, .family = 6, .model = 173},
                         cooper = {.intel = true, .family = 6, .model = 85},
                         zen5 = {.family = 0x1A, .model = 2}, odd = {.family = 6, .model = 207};
    CHECK(isa_slow_bf16(&emerald) && isa_slow_bf16(&granite));
    CHECK(!isa_slow_bf16(&cooper) && !isa_slow_bf16(&zen5) && !isa_slow_bf16(&odd));
    CHECK(isa_slow_convert(&emerald) && !isa_slow_convert(&zen5));
    CHECK(isa_slow_streams(&emerald) && !isa_slow_streams(&zen5));
}

static void scratch_sizes(void) {
    kernels_use(kernels_isas()[0]);
    for (const char *const *isa = kernels_isas(); *isa; isa++) {
        kernels_use(*isa);
        // AMX packs rows by 16, once for each order of the inputs, and in two parts.
        const size_t most = strncmp(*isa, "amx", 3) == 0 ? 73728 : 32768;
        CHECK(matmul_scratch(3, 100) >= 4096 && matmul_scratch(3, 100) < most);
        CHECK(matmul_scratch(SIZE_MAX / 64, 64) == SIZE_MAX);
    }
    CHECK(attention_scratch(2, 7, 32, 64, 64) < SIZE_MAX);
    CHECK(attention_scratch(1, 1, SIZE_MAX / 64, 64, 64) == SIZE_MAX);
    CHECK(attention_scratch(1, 1, 8, SIZE_MAX / 64, 64) == SIZE_MAX);
    CHECK(attention_scratch(1, 1, 8, 64, SIZE_MAX / 64) == SIZE_MAX);
    CHECK(attention_scratch(1, SIZE_MAX / 64, 8, 64, 64) == SIZE_MAX);
}

int main(void) {
    RUN(choosing);
    RUN(slow_bf16);
    RUN(scratch_sizes);
    RUN(exp_tanh_and_normal);
    for (const char *const *isa = kernels_isas(); *isa; isa++) {
        printf("# %s\n", *isa);
        kernels_use(*isa);
        RUN(matmul_is_right);
        RUN(matmul_same_bits);
        RUN(products_together_are_each);
        RUN(fp8_is_right);
        RUN(attention_is_right);
        RUN(row_operations);
        RUN(activations);
        RUN(rotary);
    }
    return check_done();
}
