/* Keys and values into their pages.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/kv_page.h"

/* Element [row, col] of a matrix of ld columns: f32, or bf16 with two rows side by side. */
static void put(const struct kv_layer *kv, unsigned char *to, size_t row, size_t col, size_t ld,
                float f) {
    if (kv->f32)
        ((float *)(void *)to)[row * ld + col] = f;
    else
        ((uint16_t *)(void *)to)[(row / 2 * ld + col) * 2 + row % 2] = bf16_from_f32(f);
}

void kv_store(const struct kv_layer *kv, const struct attn_row *rows, size_t n_rows, const float *k,
              size_t ldk, const float *v, size_t ldv) {
    size_t k_dim = kv->k_dim, v_dim = kv->v_dim;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t h = 0; h < kv->n_kv_heads; h++) {
            uint32_t page = rows[r].pages[rows[r].pos / KV_PAGE];
            size_t at = rows[r].pos % KV_PAGE;
            unsigned char *keys = kv_page_keys(kv, page, h), *values = kv_page_values(kv, page, h);
            for (size_t i = 0; i < k_dim; i++)
                put(kv, keys, i, at, KV_PAGE, k[r * ldk + h * k_dim + i]);
            for (size_t i = 0; i < v_dim; i++)
                put(kv, values, at, i, v_dim, v[r * ldv + h * v_dim + i]);
        }
}
