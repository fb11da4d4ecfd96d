/* Matmul with AVX512-BF16: BF16 weights with x rounded to bf16. One vdpbf16ps adds two products of
 * bf16 pairs to each of 16 lanes.
 *
 * Packed x is a row of panels of 6 rows, or of 8 where rows are few. A panel is one stream of
 * memory: of every 32 elements of k, those of its first row, of its second, and so on.
 *
 *     panel: | row 0, k 0..31 | row 1, k 0..31 | ... | row 5, k 0..31 | row 0, k 32..63 | ...
 *
 * vdpbf16ps takes 5 or 6 cycles at one or two a cycle, so tiles have 6 x 4 sums, or 8 x 3, which
 * read W less often. A single row of x takes one row of W at a time: 64 bytes in the latency of an
 * instruction, more than memory delivers, and one stream is what memory delivers best.
 *
 * Up to 8 rows are a single pass: one panel, and W is read once at the rate of memory. Lines of W
 * are prefetched just as early as it takes, and x has the rest of L1.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/table.h"
#include "kernels/x86.h"

#if KERNELS_X86
#include <string.h>

#include "base/mem.h"
#include "kernels/vec_avx512.h"

#define TARGET AVX512BF16
enum {
    SIDE = MATMUL_PANEL_SIDE,
    STEP = SIDE,
    ROWS = MATMUL_PANEL_ROWS,
    OUTS = 4,
    OUTS_1 = 1,
    PANEL8_ROWS = MATMUL_PANEL8_ROWS,
    PANEL8_OUTS = 3,
};

typedef uint16_t x_elem;

/* ---- What matmul_tmpl.h needs ---- */

AVX512BF16 EVERY_ISA vec load_pairs(const void *p, size_t n) {
    __m512i v =
        n == 32 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi16((__mmask32)((1ull << n) - 1), p);
    __m512 f = _mm512_castsi512_ps(v);
    STAYS(f);
    return f;
}
AVX512BF16 EVERY_ISA vec load_x(const uint16_t *p, size_t n) {
    return load_pairs(p, n);
}
AVX512BF16 EVERY_ISA vec load_w(const enum mat_layout layout, const unsigned char *p, size_t n) {
    (void)layout;
    return load_pairs(p, n);
}
AVX512BF16 EVERY_ISA vec multiply_add(vec acc, vec x, vec w) {
    return _mm512_dpbf16_ps(acc, (__m512bh)x, (__m512bh)w);
}
EVERY_ISA const uint16_t *x_at(const uint16_t *x, size_t ldx, size_t R, size_t r, size_t k) {
    (void)ldx;
    return x + k * R + r * SIDE;
}
EVERY_ISA size_t padded_row(size_t n_in) {
    return (n_in + SIDE - 1) / SIDE * SIDE;
}
EVERY_ISA size_t x_stride(const struct matmul_part *m) {
    return padded_row(m->n_in);
}
/* Many rows have time, and the loop between is shorter. Panels of 8, which are few rows, need all
 * that memory delivers. */
EVERY_ISA size_t prefetch_every(const size_t outs) {
    return outs == PANEL8_OUTS ? 1 : MATMUL_PREFETCH_STEPS;
}

#include "kernels/matmul_tmpl.h"

/* ---- Packing x ---- */

/* Whether n rows are packed in panels of up to 8 rows. */
static bool uses_panel8(size_t n_rows) {
    return n_rows > ROWS && n_rows < MATMUL_BLOCK_ROWS;
}
static size_t n_panels(size_t n_rows) {
    const size_t most = uses_panel8(n_rows) ? PANEL8_ROWS : ROWS;
    return (n_rows + most - 1) / most;
}

static size_t x_bytes(size_t n_rows, size_t n_in) {
    size_t n, end;
    if (!add_size(n_in, SIDE - 1, &end) ||
        !mul_size(end / SIDE * SIDE, sizeof(uint16_t) * n_rows, &n) ||
        n_rows > SIZE_MAX / sizeof(uint16_t))
        return SIZE_MAX;
    return n;
}

/* Rows x [n_rows, n] (stride ldx) as a panel. */
TARGET static void pack_panel(uint16_t *to, const float *x, size_t ldx, size_t n_rows, size_t n) {
    size_t k = 0;
    for (; k + SIDE <= n; k += SIDE)
        for (size_t r = 0; r < n_rows; r++, to += SIDE)
            for (size_t l = 0; l < SIDE; l++)
                to[l] = bf16_from_f32(x[r * ldx + k + l]);
    for (size_t r = 0; r < n_rows && k < n; r++, to += SIDE)
        for (size_t l = 0; k + l < n; l++)
            to[l] = bf16_from_f32(x[r * ldx + k + l]);
}

static void pack_x(const struct matmul_pack *p, size_t begin, size_t end) {
    const size_t all = n_panels(p->n_rows), stride = padded_row(p->n_in);
    for (size_t i = 0, r = 0, n; i < end; i++, r += n) {
        n = panel_rows(p->n_rows - r, all - i);
        if (i >= begin)
            pack_panel((uint16_t *)p->to + r * stride, p->x + r * p->ldx, p->ldx, n, p->n_in);
    }
}

/* ---- A single pass ---- */

/* As tile(), for outputs [first, first + O). The lines of W are prefetched MATMUL_PASS_AHEAD bytes
 * before their turn. After the last of this part of its rows come the first ones at `next`. */
TARGET EVERY_ISA void pass_tile(const size_t R, const size_t O, const struct panel *panel,
                                size_t first, const unsigned char *next) {
    const size_t size = sizeof(x_elem), near = MATMUL_PASS_AHEAD / O / size;
    const struct panel p = *panel;
    const unsigned char *w = p.w + first * p.n * size, *ahead = w + near * size;
    vec s[MAX_ROWS][MAX_OUTS];
    tile_begin(R, O, s, p.partial + first * R, p.from);
    size_t k = p.from;
    for (int within = 1; within >= 0; within--) {
        size_t until = !within ? p.to : p.to > p.from + near ? p.to - near : p.from;
        for (; k + STEP <= until; k += STEP) {
            UNROLLED for (size_t o = 0; o < O; o++)
                __builtin_prefetch(ahead + o * p.n * size + k * size, 0, 3);
            tile_step(R, O, MAT_BF16, s, &p, w, k, STEP);
        }
        ahead = next - k * size;
    }
    if (k < p.to)
        tile_step(R, O, MAT_BF16, s, &p, w, k, p.to - k);
    tile_end(R, O, s, &p, first);
}

/* A chunk of W with one part of k. `next`: what is read after it. */
TARGET EVERY_ISA void pass_chunk(const size_t R, const struct panel *p, const unsigned char *next) {
    const size_t outs = R <= MATMUL_ONE_STREAM_ROWS ? 1 : PANEL8_OUTS, stride = p->n * 2;
    for (size_t i = 0, O; i < p->n_out; i += O) {
        O = p->n_out - i < outs ? 1 : outs;
        const unsigned char *after =
            i + O == p->n_out ? next : p->w + (i + O) * stride + p->from * 2;
        if (O == 1)
            pass_tile(R, 1, p, i, after);
        else
            pass_tile(R, outs, p, i, after);
    }
}

/* All of W with one panel. k is cut so that its part of x stays in L1 with what comes of W. */
TARGET EVERY_ISA void pass(const size_t R, const struct matmul_part *m) {
    const size_t stride = m->n_in * 2, parts = 1 + R * stride / (MATMUL_PASS_X_BYTES + 1);
    const size_t part = (m->n_in + parts * STEP - 1) / (parts * STEP) * STEP;
    vec partial[MATMUL_CHUNK_OUTS * PANEL8_ROWS];
    for (size_t o = 0, n; o < m->n_out; o += n) {
        n = m->n_out - o < MATMUL_CHUNK_OUTS ? m->n_out - o : MATMUL_CHUNK_OUTS;
        for (size_t from = 0, to; from < m->n_in; from = to) {
            to = m->n_in - from < part ? m->n_in : from + part;
            const unsigned char *next = to < m->n_in       ? m->w + o * stride + to * 2
                                        : o + n < m->n_out ? m->w + (o + n) * stride
                                                           : m->next.data;
            pass_chunk(R,
                       &(struct panel){.y = m->y + o,
                                       .x = m->x,
                                       .w = m->w + o * stride,
                                       .bias = m->bias ? m->bias + o : NULL,
                                       .partial = partial,
                                       .ldy = m->ldy,
                                       .n_out = n,
                                       .from = from,
                                       .to = to,
                                       .n = m->n_in},
                       next);
        }
    }
}
#define PASS(R)                                                                                    \
    TARGET __attribute__((noinline)) static void pass_##R(const struct matmul_part *m) {           \
        pass(R, m);                                                                                \
    }                                                                                              \
    struct panel
PASS(2);
PASS(3);
PASS(4);
PASS(5);
PASS(6);
PASS(7);
PASS(8);

/* ---- The kernel ---- */

PANEL(panel_1, 1, OUTS, MAT_BF16);
PANEL(panel_2, 2, OUTS, MAT_BF16);
PANEL(panel_3, 3, OUTS, MAT_BF16);
PANEL(panel_4, 4, OUTS, MAT_BF16);
PANEL(panel_5, 5, OUTS, MAT_BF16);
PANEL(panel_6, 6, OUTS, MAT_BF16);
PANEL(panel8_4, 4, PANEL8_OUTS, MAT_BF16);
PANEL(panel8_5, 5, PANEL8_OUTS, MAT_BF16);
PANEL(panel8_6, 6, PANEL8_OUTS, MAT_BF16);
PANEL(panel8_7, 7, PANEL8_OUTS, MAT_BF16);
PANEL(panel8_8, 8, PANEL8_OUTS, MAT_BF16);

TARGET static void multiply(const struct matmul_part *m) {
    static void (*const passes[])(const struct matmul_part *) = {
        NULL, NULL, pass_2, pass_3, pass_4, pass_5, pass_6, pass_7, pass_8};
    static panel_fn *const panels[] = {NULL, panel_1, panel_2, panel_3, panel_4, panel_5, panel_6};
    static panel_fn *const panels8[] = {NULL,     NULL,     NULL,     NULL,    panel8_4,
                                        panel8_5, panel8_6, panel8_7, panel8_8};
    struct cut c = {.n_panels = n_panels(m->n_rows),
                    .outs = uses_panel8(m->n_rows) ? PANEL8_OUTS : OUTS,
                    .chunk = MATMUL_CHUNK_OUTS,
                    .part = part_of_row(m->n_in, m->n_rows),
                    .panels = uses_panel8(m->n_rows) ? panels8 : panels};
    if (m->n_rows == 1)
        multiply_row(MAT_BF16, m);
    else if (m->n_rows <= PANEL8_ROWS)
        passes[m->n_rows](m);
    else
        multiply_panels(MAT_BF16, m, &c);
}

void matmul_avx512bf16_fill(struct kernel_table *t) {
    static const struct matmul_kernel kernels[] = {{.layout = MAT_BF16,
                                                    .x_bytes = x_bytes,
                                                    .n_panels = n_panels,
                                                    .pack_x = pack_x,
                                                    .multiply = multiply}};
    matmul_register(t, kernels, 1);
}
#endif
