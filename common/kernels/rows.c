/* Row operations: norms, activations, rotary embedding, scaled addition.
 *
 * One loop for every instruction set: the same C, compiled again for each. All variants give the
 * same bits, because the Makefile forbids contraction. Sums run in 16 interleaved partial sums,
 * added up in one fixed tree.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "kernels/table.h"

EVERY_ISA float sum(const float *x, size_t n) {
    float s[SUM_LANES] = {0};
    size_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (size_t l = 0; l < SUM_LANES; l++)
            s[l] += x[i + l];
    for (size_t l = 0; i + l < n; l++)
        s[l] += x[i + l];
    return approx_sum_lanes(s);
}

/* The sum of (x - mean)^2. */
EVERY_ISA float sum_squares(const float *x, size_t n, float mean) {
    float s[SUM_LANES] = {0};
    size_t i = 0;
    for (; i + SUM_LANES <= n; i += SUM_LANES)
        for (size_t l = 0; l < SUM_LANES; l++)
            s[l] += (x[i + l] - mean) * (x[i + l] - mean);
    for (size_t l = 0; i + l < n; l++)
        s[l] += (x[i + l] - mean) * (x[i + l] - mean);
    return approx_sum_lanes(s);
}

EVERY_ISA void rmsnorm_rows(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows,
                            size_t n, const struct rows_norm *norm) {
    const float *weight = norm->weight;
    const float weight_offset = norm->offset, eps = norm->eps;
    for (size_t r = 0; r < n_rows; r++, y += ldy, x += ldx) {
        float scale = 1.0f / sqrtf(sum_squares(x, n, 0) / (float)n + eps);
        for (size_t i = 0; i < n; i++)
            y[i] = x[i] * scale * (weight[i] + weight_offset);
    }
}

EVERY_ISA void layernorm_rows(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows,
                              size_t n, const struct rows_norm *norm) {
    const float *weight = norm->weight, *bias = norm->bias, eps = norm->eps;
    for (size_t r = 0; r < n_rows; r++, y += ldy, x += ldx) {
        float mean = sum(x, n) / (float)n;
        float scale = 1.0f / sqrtf(sum_squares(x, n, mean) / (float)n + eps);
        if (bias)
            for (size_t i = 0; i < n; i++)
                y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
        else
            for (size_t i = 0; i < n; i++)
                y[i] = (x[i] - mean) * scale * weight[i];
    }
}

EVERY_ISA float silu(float x) {
    return x / (1.0f + approx_exp(-x));
}
/* Hendrycks and Gimpel 2016, the tanh form. */
EVERY_ISA float gelu_tanh(float x) {
    return 0.5f * x * (1.0f + approx_tanh(0.797884561f * (x + 0.044715f * x * x * x)));
}
/* The same authors' exact form. */
EVERY_ISA float gelu_erf(float x) {
    float above = approx_normal_above(f32_from_bits(f32_bits(x) & 0x7FFFFFFF));
    return x * (x < 0 ? above : 1.0f - above);
}
EVERY_ISA float relu(float x) {
    return x > 0 ? x : 0 * x; // NaN stays NaN
}

EVERY_ISA void activate_rows(enum activation a, float *x, size_t ldx, size_t n_rows, size_t n) {
    for (size_t r = 0; r < n_rows; r++, x += ldx)
        switch (a) {
        case ACT_NONE:
            break;
        case ACT_SILU:
            for (size_t i = 0; i < n; i++)
                x[i] = silu(x[i]);
            break;
        case ACT_GELU_TANH:
            for (size_t i = 0; i < n; i++)
                x[i] = gelu_tanh(x[i]);
            break;
        case ACT_GELU_ERF:
            for (size_t i = 0; i < n; i++)
                x[i] = gelu_erf(x[i]);
            break;
        case ACT_RELU:
            for (size_t i = 0; i < n; i++)
                x[i] = relu(x[i]);
            break;
        }
}

EVERY_ISA void activate_mul_rows(enum activation a, float *gate, size_t ldg, const float *up,
                                 size_t ldu, size_t n_rows, size_t n) {
    for (size_t r = 0; r < n_rows; r++, gate += ldg, up += ldu) {
        activate_rows(a, gate, ldg, 1, n);
        for (size_t i = 0; i < n; i++)
            gate[i] *= up[i];
    }
}

EVERY_ISA void add_scaled_rows(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows,
                               size_t n, float s) {
    for (size_t r = 0; r < n_rows; r++, y += ldy, x += ldx)
        for (size_t i = 0; i < n; i++)
            y[i] += s * x[i];
}

EVERY_ISA void rope_heads(float *x, size_t n_heads, size_t head_dim, size_t rotary,
                          const float *cos, const float *sin) {
    size_t half = rotary / 2;
    for (size_t h = 0; h < n_heads; h++, x += head_dim)
        for (size_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cos[i] - b * sin[i];
            x[i + half] = b * cos[i] + a * sin[i];
        }
}

EVERY_ISA void softcap_all(float *x, size_t n, float cap) {
    for (size_t i = 0; i < n; i++)
        x[i] = cap * approx_tanh(x[i] / cap);
}

#define VARIANT(isa, target)                                                                       \
    target static void rmsnorm_##isa(float *y, size_t ldy, const float *x, size_t ldx,             \
                                     size_t n_rows, size_t n, const struct rows_norm *norm) {      \
        rmsnorm_rows(y, ldy, x, ldx, n_rows, n, norm);                                             \
    }                                                                                              \
    target static void layernorm_##isa(float *y, size_t ldy, const float *x, size_t ldx,           \
                                       size_t n_rows, size_t n, const struct rows_norm *norm) {    \
        layernorm_rows(y, ldy, x, ldx, n_rows, n, norm);                                           \
    }                                                                                              \
    target static void activate_##isa(enum activation a, float *x, size_t ldx, size_t n_rows,      \
                                      size_t n) {                                                  \
        activate_rows(a, x, ldx, n_rows, n);                                                       \
    }                                                                                              \
    target static void activate_mul_##isa(enum activation a, float *gate, size_t ldg,              \
                                          const float *up, size_t ldu, size_t n_rows, size_t n) {  \
        activate_mul_rows(a, gate, ldg, up, ldu, n_rows, n);                                       \
    }                                                                                              \
    target static void add_scaled_##isa(float *y, size_t ldy, const float *x, size_t ldx,          \
                                        size_t n_rows, size_t n, float s) {                        \
        add_scaled_rows(y, ldy, x, ldx, n_rows, n, s);                                             \
    }                                                                                              \
    target static void rope_##isa(float *x, size_t n_heads, size_t head_dim, size_t rotary,        \
                                  const float *cos, const float *sin) {                            \
        rope_heads(x, n_heads, head_dim, rotary, cos, sin);                                        \
    }                                                                                              \
    target static void softcap_##isa(float *x, size_t n, float cap) {                              \
        softcap_all(x, n, cap);                                                                    \
    }                                                                                              \
    void rows_##isa##_fill(struct kernel_table *t) {                                               \
        t->rows = (struct rows_kernels){rmsnorm_##isa,      layernorm_##isa,  activate_##isa,      \
                                        activate_mul_##isa, add_scaled_##isa, rope_##isa,          \
                                        softcap_##isa};                                            \
    }

VARIANT(c, )
#if defined(__x86_64__)
VARIANT(avx2, __attribute__((target("avx2"))))
VARIANT(avx512, __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq"))))
#endif

void rows_rmsnorm(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                  const struct rows_norm *norm) {
    kernel.rows.rmsnorm(y, ldy, x, ldx, n_rows, n, norm);
}
void rows_layernorm(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                    const struct rows_norm *norm) {
    kernel.rows.layernorm(y, ldy, x, ldx, n_rows, n, norm);
}
void rows_activate(enum activation a, float *x, size_t ldx, size_t n_rows, size_t n) {
    kernel.rows.activate(a, x, ldx, n_rows, n);
}
void rows_activate_mul(enum activation a, float *gate, size_t ldg, const float *up, size_t ldu,
                       size_t n_rows, size_t n) {
    kernel.rows.activate_mul(a, gate, ldg, up, ldu, n_rows, n);
}
void rows_add_scaled(float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, size_t n,
                     float s) {
    kernel.rows.add_scaled(y, ldy, x, ldx, n_rows, n, s);
}
void rows_rope(float *x, size_t n_heads, size_t head_dim, size_t rotary, const float *cos,
               const float *sin) {
    kernel.rows.rope(x, n_heads, head_dim, rotary, cos, sin);
}
void rows_softcap(float *x, size_t n, float cap) {
    kernel.rows.softcap(x, n, cap);
}
