/* The matmul kernels of an instruction set that multiplies in f32: one for each layout of plain
 * weights. x is read as it is. The including file defines what matmul_tmpl.h needs of vectors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "kernels/table.h"

typedef float x_elem;
EVERY_ISA const float *x_at(const float *x, size_t ldx, size_t R, size_t r, size_t k) {
    (void)R;
    return x + r * ldx + k;
}
EVERY_ISA size_t prefetch_every(size_t outs) {
    (void)outs;
    return 1;
}
EVERY_ISA size_t x_stride(const struct matmul_part *m) {
    return m->ldx;
}

#include "kernels/matmul_tmpl.h"

PANEL(panel_1_tiles, 1, OUTS, (enum mat_layout)W_TILES);
PANEL(panel_2_tiles, 2, OUTS, (enum mat_layout)W_TILES);
PANEL(panel_3_tiles, 3, OUTS, (enum mat_layout)W_TILES);
PANEL(panel_4_tiles, 4, OUTS, (enum mat_layout)W_TILES);

/* Many rows of f32: W is packed, a chunk at a time. */
TARGET static void multiply_tiles(const struct matmul_part *m) {
    static panel_fn *const panels[] = {NULL, panel_1_tiles, panel_2_tiles, panel_3_tiles,
                                       panel_4_tiles};
    _Alignas(64) float tiles[MATMUL_TILES_OUTS * (MATMUL_TILES_X_BYTES / sizeof(float) + STEP)];
    multiply_panels(MAT_F32, m,
                    &(struct cut){.n_panels = (m->n_rows + ROWS - 1) / ROWS,
                                  .outs = OUTS,
                                  .chunk = MATMUL_TILES_OUTS,
                                  .part = part_of_bytes(m->n_in, MATMUL_TILES_X_BYTES),
                                  .panels = panels,
                                  .tiles = tiles});
}
static size_t f32_block_rows(size_t n_in) {
    const size_t row = n_in * sizeof(float);
    return row > MATMUL_TILES_X_BYTES
               ? MATMUL_BLOCK_ROWS
               : round_up_size(1 + MATMUL_TILES_BLOCK_BYTES / row, MATMUL_ALL_TILES);
}

/* A part that is one tile of rows high takes W once: nothing of it has to stay in a cache. */
TARGET EVERY_ISA void multiply(const enum mat_layout layout, const struct matmul_part *m,
                               panel_fn *const *panels) {
    const bool once = m->n_rows <= ROWS;
    struct cut c = {.n_panels = (m->n_rows + ROWS - 1) / ROWS,
                    .outs = OUTS,
                    .chunk = once ? OUTS : MATMUL_CHUNK_OUTS,
                    .part = once ? m->n_in : part_of_row(m->n_in, m->n_rows),
                    .panels = panels};
    if (m->n_rows == 1)
        multiply_row(layout, m);
    else if (layout == MAT_F32 && m->n_rows >= MATMUL_BLOCK_ROWS)
        multiply_tiles(m);
    else
        multiply_panels(layout, m, &c);
}

TARGET EVERY_ISA void widen(const enum mat_layout layout, float *to, const unsigned char *w,
                            size_t n) {
    size_t i = 0;
    for (; i + STEP <= n; i += STEP)
        vec_store(to + i, load_w(layout, w + i * 2, STEP), STEP);
    if (i < n)
        vec_store(to + i, load_w(layout, w + i * 2, n - i), n - i);
}

/* The functions of one layout; rows of a panel are at most ROWS = 4. */
#define KERNELS(name, layout)                                                                      \
    PANEL(panel_1_##name, 1, OUTS, layout);                                                        \
    PANEL(panel_2_##name, 2, OUTS, layout);                                                        \
    PANEL(panel_3_##name, 3, OUTS, layout);                                                        \
    PANEL(panel_4_##name, 4, OUTS, layout);                                                        \
    TARGET static void multiply_##name(const struct matmul_part *m) {                              \
        static panel_fn *const panels[] = {NULL, panel_1_##name, panel_2_##name, panel_3_##name,   \
                                           panel_4_##name};                                        \
        multiply(layout, m, panels);                                                               \
    }
KERNELS(f32, MAT_F32)
KERNELS(f16, MAT_F16)
KERNELS(bf16, MAT_BF16)

TARGET static void widen_f16(float *to, const unsigned char *w, size_t n) {
    widen(MAT_F16, to, w, n);
}
TARGET static void widen_bf16(float *to, const unsigned char *w, size_t n) {
    widen(MAT_BF16, to, w, n);
}

static const struct matmul_kernel f32_kernels[] = {
    {.layout = MAT_F32, .multiply = multiply_f32, .block_rows = f32_block_rows},
    {.layout = MAT_F16, .multiply = multiply_f16, .widen = widen_f16},
    {.layout = MAT_BF16, .multiply = multiply_bf16, .widen = widen_bf16},
};
enum { N_F32_KERNELS = sizeof f32_kernels / sizeof *f32_kernels };
