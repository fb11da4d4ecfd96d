/* Attention's sums with AMX: queries and probabilities are bf16, and pages in bf16 are B tiles as
 * they are: 16 pairs of rows, 16 columns of each. Written once, for the CPU's tiles and for
 * emulated ones. The including file defines TARGET. The softmax is softmax_avx512bf16.c.
 *
 * c [m, cols] = c * rescale + a [m, end] b [end, cols]: the order of an element's additions is that
 * of tile.h, over groups of 32 rows of b from row 0 on. Rows before `begin` count as zero, and are
 * not read.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "kernels/prefetch.h"
#include "kernels/table.h"
#include "kernels/tile.h"
#include "kernels/vec_avx512.h"

enum { AMX_C = 4 }; // tiles of columns side by side

/* C tile t of 0 to 3. */
TARGET EVERY_ISA void c_zero(const size_t t) {
    switch (t) {
    case 0:
        TILE_ZERO(0);
        break;
    case 1:
        TILE_ZERO(1);
        break;
    case 2:
        TILE_ZERO(2);
        break;
    default:
        TILE_ZERO(3);
    }
}
TARGET EVERY_ISA void c_load(const size_t t, const void *p) {
    switch (t) {
    case 0:
        TILE_LOAD(0, p, TILE_BYTES);
        break;
    case 1:
        TILE_LOAD(1, p, TILE_BYTES);
        break;
    case 2:
        TILE_LOAD(2, p, TILE_BYTES);
        break;
    default:
        TILE_LOAD(3, p, TILE_BYTES);
    }
}
TARGET EVERY_ISA void c_store(const size_t t, void *p, size_t stride) {
    switch (t) {
    case 0:
        TILE_STORE(0, p, stride);
        break;
    case 1:
        TILE_STORE(1, p, stride);
        break;
    case 2:
        TILE_STORE(2, p, stride);
        break;
    default:
        TILE_STORE(3, p, stride);
    }
}
/* Adds the products of A and the B tile at p. */
TARGET EVERY_ISA void c_add(const size_t t, const void *p, size_t stride) {
    switch (t) {
    case 0:
        TILE_LOAD(6, p, stride);
        TILE_DP_BF16(0, 4, 6);
        break;
    case 1:
        TILE_LOAD(7, p, stride);
        TILE_DP_BF16(1, 4, 7);
        break;
    case 2:
        TILE_LOAD(6, p, stride);
        TILE_DP_BF16(2, 4, 6);
        break;
    default:
        TILE_LOAD(7, p, stride);
        TILE_DP_BF16(3, 4, 7);
    }
}

/* Queries [r, r + rows) and columns [j, j + cols), 16 in each tile but one that is alone. */
struct amx_sum {
    const struct attn_weighted_sum *w;
    size_t r, rows, j, cols;
};

/* The sums so far, rescaled. */
TARGET EVERY_ISA void sum_begin(const size_t C, const struct amx_sum *s) {
    const struct attn_weighted_sum *w = s->w;
    float scaled[TILE_ROWS][TILE_COLS];
    UNROLLED for (size_t t = 0; t < C; t++) {
        if (!w->rescale) {
            c_zero(t);
            continue;
        }
        const float *c = w->c + s->r * w->ldc + s->j + t * TILE_COLS;
        for (size_t i = 0; i < s->rows; i++)
            vec_store(scaled[i],
                      vec_multiply(vec_load(c + i * w->ldc, C == 1 ? s->cols : TILE_COLS),
                                   vec_spread(w->rescale[s->r + i])),
                      TILE_COLS);
        c_load(t, scaled);
    }
}

/* Group g, of which rows of b [from, to) count: fewer than 32. */
TARGET __attribute__((noinline)) static void sum_in_part(const struct amx_sum *s, size_t C,
                                                         size_t g, size_t from, size_t to) {
    const struct attn_weighted_sum *w = s->w;
    uint16_t a[TILE_ROWS][TILE_K] = {{0}}, b[TILE_PAIRS][TILE_K];
    const uint16_t *wa = w->a, *wb = w->b;
    const size_t first = g * TILE_K;
    for (size_t i = 0; i < s->rows; i++)
        memcpy(a[i] + from - first, wa + (s->r + i) * w->lda + from, (to - from) * sizeof **a);
    TILE_LOAD(4, a, TILE_BYTES);
    for (size_t t = 0; t < C; t++) {
        const size_t j = s->j + t * TILE_COLS, cols = C == 1 ? s->cols : TILE_COLS;
        memset(b, 0, sizeof b);
        for (size_t k = from; k < to; k++)
            for (size_t n = 0; n < cols; n++)
                b[(k - first) / 2][2 * n + k % 2] = wb[(k / 2 * w->ldb + j + n) * 2 + k % 2];
        c_add(t, b, TILE_BYTES);
    }
}

TARGET EVERY_ISA void sum_tiles(const size_t C, const struct amx_sum *s, struct prefetch *f) {
    const struct attn_weighted_sum *w = s->w;
    const size_t end = w->end, stride = w->ldb * sizeof(uint32_t);
    const unsigned char *a = (const unsigned char *)w->a + s->r * w->lda * sizeof(uint16_t),
                        *b = (const unsigned char *)w->b + s->j * sizeof(uint32_t);
    struct prefetch go = *f;
    sum_begin(C, s);
    for (size_t g = w->begin / TILE_K; g * TILE_K < end; g++) {
        const size_t first = g * TILE_K, from = first > w->begin ? first : w->begin,
                     to = end - first < TILE_K ? end : first + TILE_K;
        prefetch_step(&go);
        if (to - from < TILE_K) {
            sum_in_part(s, C, g, from, to);
            continue;
        }
        TILE_LOAD(4, a + g * TILE_BYTES, w->lda * sizeof(uint16_t));
        UNROLLED for (size_t t = 0; t < C; t++)
            c_add(t, b + g * TILE_PAIRS * stride + t * TILE_BYTES, stride);
    }
    *f = go;
    UNROLLED for (size_t t = 0; t < C; t++)
        c_store(t, w->c + s->r * w->ldc + s->j + t * TILE_COLS, w->ldc * sizeof(float));
}

TARGET static void weighted_sum_bf16(const struct attn_weighted_sum *w) {
    struct prefetch f = prefetch_bytes(w->next, w->next_bytes);
    const size_t whole = w->cols / TILE_COLS, last = w->cols % TILE_COLS,
                 blocks = whole / AMX_C + whole % AMX_C + (last > 0),
                 groups = (w->end + TILE_K - 1) / TILE_K - w->begin / TILE_K;
    size_t tiles = (w->m + TILE_ROWS - 1) / TILE_ROWS;
    struct amx_sum s = {.w = w, .cols = TILE_COLS};
    for (; s.r < w->m; s.r += s.rows, tiles--) {
        s.rows = (w->m - s.r + tiles - 1) / tiles;
        prefetch_spread(&f, s.rows, w->m, blocks * groups);
        s.cols = TILE_COLS;
        TILE_SHAPE(s.rows, TILE_COLS);
        for (s.j = 0; s.j + AMX_C * TILE_COLS <= w->cols; s.j += AMX_C * TILE_COLS)
            sum_tiles(AMX_C, &s, &f);
        for (; s.j + TILE_COLS <= w->cols; s.j += TILE_COLS)
            sum_tiles(1, &s, &f);
        if (last == 0)
            continue;
        s.cols = last;
        TILE_SHAPE(s.rows, last);
        sum_tiles(1, &s, &f);
    }
}

TARGET static void round_bf16(uint16_t *to, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        to[i] = bf16_from_f32(x[i]);
}
