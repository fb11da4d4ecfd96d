/* Keys and values into their pages, and pages in i8 as f32.
 *
 * In i8, the scale of a group is its largest absolute value / 127, rounded up to bf16. The codes
 * are the values times the inverse of the scale, rounded to nearest, ties to even. Where a value is
 * infinite or not a number, the scale is not a number; where all are below 2^-100, the scale is 0.
 * Every step is one IEEE operation, so codes and scales are the same on every instruction set.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "kernels/kv_page.h"
#include "kernels/table.h"
#include "weights/half.h"

enum { I8_MOST = 127 };

/* Element [row, col] of a matrix of ld columns: f32, or bf16 with two rows side by side. */
static void put(const struct kv_layer *kv, unsigned char *to, size_t row, size_t col, size_t ld,
                float f) {
    if (kv->type == KV_F32)
        ((float *)(void *)to)[row * ld + col] = f;
    else
        ((uint16_t *)(void *)to)[(row / 2 * ld + col) * 2 + row % 2] = bf16_from_f32(f);
}

/* ---- i8 ---- */

/* The least bf16 that is not below f, which is positive. */
static uint16_t bf16_above(float f) {
    return (uint16_t)((f32_bits(f) + 0xFFFF) >> 16);
}

/* x [n] -> codes, `step` bytes apart. Returns their scale, as bf16. */
static uint16_t put_group(int8_t *codes, size_t step, const float *x, size_t n) {
    const float whole = 12582912; // 1.5 * 2^23: floats near it are whole numbers
    float most = 0;
    bool finite = true;
    for (size_t i = 0; i < n; i++) {
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
        finite = finite && isfinite(x[i]);
    }
    const bool tiny = !(most >= 0x1p-100f);
    const uint16_t scale = !finite ? 0x7FC0 : tiny ? 0 : bf16_above(most / I8_MOST);
    const float inverse = finite && !tiny ? 1 / f32_from_bf16(scale) : 0;
    for (size_t i = 0; i < n; i++)
        codes[i * step] = inverse > 0 ? (int8_t)(x[i] * inverse + whole - whole) : 0;
    return scale;
}

/* x [dim] -> codes and scales, which are `step` elements apart. */
static void put_i8(int8_t *codes, uint16_t *scales, size_t step, size_t scale_step, const float *x,
                   size_t dim) {
    for (size_t i = 0; i < dim; i += KV_I8_GROUP) {
        const size_t n = dim - i < KV_I8_GROUP ? dim - i : KV_I8_GROUP;
        scales[i / KV_I8_GROUP * scale_step] = put_group(codes + i * step, step, x + i, n);
    }
}

/* The scales of codes [KV_PAGE, dim]. */
static uint16_t *scales_of(const unsigned char *codes, size_t dim) {
    return (uint16_t *)(uintptr_t)(codes + KV_PAGE * dim);
}

static void store_i8(const struct kv_layer *kv, unsigned char *keys, unsigned char *values,
                     size_t at, const float *k, const float *v) {
    put_i8((int8_t *)keys + at, scales_of(keys, kv->k_dim) + at, KV_PAGE, KV_PAGE, k, kv->k_dim);
    put_i8((int8_t *)values + at * kv->v_dim,
           scales_of(values, kv->v_dim) + at * kv_i8_groups(kv->v_dim), 1, 1, v, kv->v_dim);
}

void kv_i8_widen(float *to, const struct kv_layer *kv, const unsigned char *part) {
    const unsigned char *values = part + kv_key_bytes(kv->k_dim, KV_I8);
    const uint16_t *of_keys = scales_of(part, kv->k_dim), *of_values = scales_of(values, kv->v_dim);
    float scales[KV_PAGE];
    for (size_t d = 0; d < kv->k_dim; d++, to += KV_PAGE) {
        for (size_t p = 0; p < KV_PAGE && d % KV_I8_GROUP == 0; p++)
            scales[p] = f32_from_bf16(of_keys[d / KV_I8_GROUP * KV_PAGE + p]);
        kernel.kv.i8_each(to, (const int8_t *)part + d * KV_PAGE, KV_PAGE, scales);
    }
    for (size_t p = 0; p < KV_PAGE; p++)
        for (size_t d = 0, n; d < kv->v_dim; d += n, to += n) {
            n = kv->v_dim - d < KV_I8_GROUP ? kv->v_dim - d : KV_I8_GROUP;
            kernel.kv.i8(to, (const int8_t *)values + p * kv->v_dim + d, n,
                         f32_from_bf16(*of_values++));
        }
}

/* ---- All types ---- */

void kv_store(const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, const float *k,
              size_t ldk, const float *v, size_t ldv) {
    size_t k_dim = kv->k_dim, v_dim = kv->v_dim;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t h = 0; h < kv->n_kv_heads; h++) {
            uint32_t page = rows[r].pages[rows[r].pos / KV_PAGE];
            size_t at = rows[r].pos % KV_PAGE;
            unsigned char *keys = kv_page_keys(kv, page, h), *values = kv_page_values(kv, page, h);
            const float *key = k + r * ldk + h * k_dim, *value = v + r * ldv + h * v_dim;
            if (kv->type == KV_I8) {
                store_i8(kv, keys, values, at, key, value);
                continue;
            }
            for (size_t i = 0; i < k_dim; i++)
                put(kv, keys, i, at, KV_PAGE, key[i]);
            for (size_t i = 0; i < v_dim; i++)
                put(kv, values, at, i, v_dim, value[i]);
        }
}
