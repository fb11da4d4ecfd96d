/* Matmul with AMX: BF16 weights with x rounded to bf16. Written once, for the CPU's tiles and for
 * emulated ones. The including file defines TARGET, a function attribute.
 *
 * W is used as it is in the mapping: 16 rows of it are A, and y^T = W x^T is computed. x is packed
 * as B: in panels of up to 16 rows, as tiles that are whole in memory.
 *
 *     panel: | k 0..31 | k 32..63 | ...      a tile: 16 pairs of k; of each pair, one lane a row
 *
 * C of 32 outputs and two panels stays in four tiles for all of k. So every output element is
 * summed in the order of tile.h over groups of 32 k, from k = 0 on, whether it has one row of x or
 * thousands. One row is a panel with one lane: it takes as many instructions as 16 rows, and those
 * are faster than memory.
 *
 * The last outputs of a part, where they are fewer than 16, are computed in a tile together with
 * outputs before them, which get their values a second time. So a tile never reads past W.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/mem.h"
#include "kernels/prefetch.h"
#include "kernels/table.h"
#include "kernels/tile.h"

/* ---- Packing x ---- */

static size_t amx_n_panels(size_t n_rows) {
    return (n_rows + TILE_COLS - 1) / TILE_COLS;
}
/* Rows of each panel of a block of n_rows; the last panel may have fewer, and lanes of zeros. */
static size_t amx_panel_rows(size_t n_rows) {
    const size_t n = amx_n_panels(n_rows);
    return (n_rows + n - 1) / n;
}
static size_t amx_groups(size_t n_in) { // of k
    return n_in / TILE_K + (n_in % TILE_K > 0);
}
static size_t amx_panel_bytes(size_t n_in, size_t cols) {
    return amx_groups(n_in) * TILE_PAIRS * cols * sizeof(uint32_t);
}

static size_t amx_x_bytes(size_t n_rows, size_t n_in) {
    size_t rows = n_rows, n;
    if (n_rows > TILE_COLS && n_rows % TILE_COLS > 0 &&
        !add_size(n_rows, TILE_COLS - n_rows % TILE_COLS, &rows))
        return SIZE_MAX;
    if (!mul_size(amx_groups(n_in), TILE_BYTES, &n) || !mul_size(n, rows, &n))
        return SIZE_MAX;
    return n;
}

/* Rows of x in a block: their packed form stays in L2 beside a piece of W. */
static size_t amx_block_rows(size_t n_in) {
    const size_t rows = MATMUL_AMX_X_BYTES / (amx_groups(n_in) * TILE_BYTES);
    return rows < 2 * TILE_COLS ? 2 * TILE_COLS : rows - rows % (2 * TILE_COLS);
}

/* to [16, 16] = the transposed `from` [16, 16]; strides in floats. */
TARGET EVERY_ISA void transpose_16(float *to, size_t ldt, const float *from, size_t ldf) {
    for (size_t i = 0; i < 16; i += 4)
        for (size_t j = 0; j < 16; j += 4) {
            const float *f = from + i * ldf + j;
            __m128 a = _mm_loadu_ps(f), b = _mm_loadu_ps(f + ldf), c = _mm_loadu_ps(f + 2 * ldf),
                   d = _mm_loadu_ps(f + 3 * ldf);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            float *t = to + j * ldt + i;
            _mm_storeu_ps(t, a);
            _mm_storeu_ps(t + ldt, b);
            _mm_storeu_ps(t + 2 * ldt, c);
            _mm_storeu_ps(t + 3 * ldt, d);
        }
}

/* Rows of a tile of x before they are transposed. */
union amx_x_rows {
    uint16_t half[TILE_COLS][TILE_K];
    float pair[TILE_COLS][TILE_PAIRS];
};

/* rows as a tile of `cols` lanes. */
TARGET EVERY_ISA void store_x_tile(unsigned char *to, const union amx_x_rows *rows, size_t cols) {
    float tile[TILE_PAIRS][TILE_COLS];
    if (cols == 1) {
        memcpy(to, rows->pair[0], sizeof rows->pair[0]);
        return;
    }
    transpose_16(tile[0], TILE_COLS, rows->pair[0], TILE_PAIRS);
    for (size_t p = 0; p < TILE_PAIRS; p++)
        memcpy(to + p * cols * sizeof(float), tile[p], cols * sizeof(float));
}

/* The n elements of k from x on, of n_rows rows, as a tile of `cols` lanes. */
TARGET static void pack_tile(unsigned char *to, const float *x, size_t ldx, size_t n_rows, size_t n,
                             size_t cols) {
    union amx_x_rows rows;
    if (n < TILE_K || n_rows < TILE_COLS)
        memset(&rows, 0, sizeof rows);
    for (size_t r = 0; r < n_rows; r++) {
        if (n == TILE_K)
            for (size_t k = 0; k < TILE_K; k++)
                rows.half[r][k] = bf16_from_f32(x[r * ldx + k]);
        else
            for (size_t k = 0; k < n; k++)
                rows.half[r][k] = bf16_from_f32(x[r * ldx + k]);
    }
    store_x_tile(to, &rows, cols);
}

TARGET static void amx_pack_x(const struct matmul_pack *p, size_t begin, size_t end) {
    const size_t cols = amx_panel_rows(p->n_rows), n_in = p->n_in;
    for (size_t i = begin; i < end; i++) {
        const size_t r = i * cols, left = p->n_rows - r;
        unsigned char *to = (unsigned char *)p->to + i * amx_panel_bytes(n_in, cols);
        for (size_t k = 0; k < n_in; k += TILE_K, to += TILE_PAIRS * cols * sizeof(uint32_t))
            pack_tile(to, p->x + r * p->ldx + k, p->ldx, left < cols ? left : cols,
                      n_in - k < TILE_K ? n_in - k : TILE_K, cols);
    }
}

/* ---- Tiles of outputs ---- */

/* O runs of outputs with P panels. */
struct amx_block {
    const unsigned char *w[2], *x[2];
    size_t w_stride, x_stride; // bytes of a row of W; of a row of a tile of x
    size_t rows, n_in;         // rows of W in a tile
};

/* `rows` rows of n < 32 elements, padded with zeros. */
EVERY_ISA void tail_of_w(uint16_t (*to)[TILE_K], const unsigned char *w, size_t stride, size_t rows,
                         size_t n) {
    memset(to, 0, TILE_ROWS * sizeof *to);
    for (size_t r = 0; r < rows; r++)
        memcpy(to[r], w + r * stride, n * sizeof **to);
}

/* Adds the products of the A tiles at w0 and w1 and of group g of x. */
TARGET EVERY_ISA void amx_step(const size_t O, const size_t P, const struct amx_block *b,
                               const void *w0, const void *w1, size_t stride, size_t g) {
    const size_t x = g * TILE_PAIRS * b->x_stride;
    TILE_LOAD(6, b->x[0] + x, b->x_stride);
    TILE_LOAD(4, w0, stride);
    TILE_DP_BF16(0, 4, 6);
    if (P > 1) {
        TILE_LOAD(7, b->x[1] + x, b->x_stride);
        TILE_DP_BF16(1, 4, 7);
    }
    if (O > 1) {
        TILE_LOAD(5, w1, stride);
        TILE_DP_BF16(2, 5, 6);
    }
    if (O > 1 && P > 1)
        TILE_DP_BF16(3, 5, 7);
}

/* c [O, P, 16 outputs, 16 rows]. f goes on at the same time. */
TARGET EVERY_ISA void amx_sums(const size_t O, const size_t P, float (*c)[TILE_ROWS][TILE_COLS],
                               const struct amx_block *block, struct prefetch *f) {
    const struct amx_block b = *block;
    const size_t whole = b.n_in / TILE_K, left = b.n_in % TILE_K;
    struct prefetch go = *f;
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (size_t g = 0; g < whole; g++) {
        prefetch_step(&go);
        amx_step(O, P, &b, b.w[0] + g * TILE_BYTES, b.w[1] + g * TILE_BYTES, b.w_stride, g);
    }
    *f = go;
    if (left > 0) {
        uint16_t tail[2][TILE_ROWS][TILE_K];
        for (size_t o = 0; o < O; o++)
            tail_of_w(tail[o], b.w[o] + whole * TILE_BYTES, b.w_stride, b.rows, left);
        amx_step(O, P, &b, tail[0], tail[1], TILE_BYTES, whole);
    }
    TILE_STORE(0, c[0], TILE_BYTES);
    if (P > 1)
        TILE_STORE(1, c[1], TILE_BYTES);
    if (O > 1)
        TILE_STORE(2, c[P], TILE_BYTES);
    if (O > 1 && P > 1)
        TILE_STORE(3, c[3], TILE_BYTES);
}

/* y [n_rows, n_outs] (stride ldy) = the transposed c [n_outs, n_rows], with the bias added. */
TARGET EVERY_ISA void store_outputs(float *y, size_t ldy, float (*c)[TILE_COLS], const float *bias,
                                    size_t n_outs, size_t n_rows) {
    float t[TILE_COLS][TILE_ROWS];
    if (n_rows == 1) {
        for (size_t o = 0; o < n_outs; o++)
            y[o] = bias ? c[o][0] + bias[o] : c[o][0];
        return;
    }
    transpose_16(t[0], TILE_ROWS, c[0], TILE_COLS);
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t o = 0; o < n_outs && bias; o++)
            t[r][o] += bias[o];
        if (n_outs == TILE_ROWS)
            memcpy(y + r * ldy, t[r], sizeof t[r]);
        else
            memcpy(y + r * ldy, t[r], n_outs * sizeof(float));
    }
}

/* Outputs at[0] and, where O = 2, at[1], with all rows of x. */
TARGET EVERY_ISA void amx_outputs(const size_t O, const struct matmul_part *m, const size_t *at,
                                  size_t rows, struct prefetch *f) {
    const size_t panels = amx_n_panels(m->n_rows), cols = amx_panel_rows(m->n_rows),
                 panel_bytes = amx_panel_bytes(m->n_in, cols), stride = m->n_in * sizeof(uint16_t);
    struct amx_block b = {.w = {m->w + at[0] * stride, m->w + at[O - 1] * stride},
                          .w_stride = stride,
                          .x_stride = cols * sizeof(uint32_t),
                          .rows = rows,
                          .n_in = m->n_in};
    float c[4][TILE_ROWS][TILE_COLS] = {{{0}}};
    for (size_t p = 0, P; p < panels; p += P) {
        P = panels - p < 2 ? 1 : 2;
        b.x[0] = (const unsigned char *)m->x + p * panel_bytes;
        b.x[1] = b.x[0] + panel_bytes;
        prefetch_spread(f, P, panels, m->n_in / TILE_K);
        if (P == 2)
            amx_sums(O, 2, c, &b, f);
        else
            amx_sums(O, 1, c, &b, f);
        for (size_t i = 0; i < O * P; i++) {
            const size_t o = at[i / P], r = (p + i % P) * cols, left = m->n_rows - r;
            store_outputs(m->y + r * m->ldy + o, m->ldy, c[i], m->bias ? m->bias + o : NULL, rows,
                          left < cols ? left : cols);
        }
    }
}

/* What comes after output `end`: rows of W that are in no cache yet, or those of the next part. */
EVERY_ISA struct prefetch amx_next(const struct matmul_part *m, size_t end) {
    const size_t stride = m->n_in * sizeof(uint16_t), most = 2 * TILE_ROWS;
    struct matmul_rows r = {m->w + end * stride, m->w_is_cold ? m->n_out - end : 0, stride};
    if (end == m->n_out)
        r = m->next;
    return prefetch_rows(r.data, r.row_bytes, r.row_bytes, r.n < most ? r.n : most);
}

TARGET static void amx_multiply(const struct matmul_part *m) {
    const size_t rows = m->n_out < TILE_ROWS ? m->n_out : TILE_ROWS;
    TILE_SHAPE(rows, amx_panel_rows(m->n_rows));
    for (size_t o = 0, end; o < m->n_out; o = end) {
        const size_t left = m->n_out - o, last = m->n_out - rows;
        const size_t at[2] = {left < rows ? last : o, left < 2 * rows ? last : o + rows};
        end = left < 2 * rows ? m->n_out : o + 2 * rows;
        struct prefetch f = amx_next(m, end);
        if (left > rows)
            amx_outputs(2, m, at, rows, &f);
        else
            amx_outputs(1, m, at, rows, &f);
    }
}

static const struct matmul_kernel amx_kernels[] = {{.layout = MAT_BF16,
                                                    .x_bytes = amx_x_bytes,
                                                    .n_panels = amx_n_panels,
                                                    .block_rows = amx_block_rows,
                                                    .pack_x = amx_pack_x,
                                                    .multiply = amx_multiply}};
