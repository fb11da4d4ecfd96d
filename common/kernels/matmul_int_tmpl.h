/* The matmul kernels of the integer layouts, for one instruction set: rounded x (matmul_int.h) with
 * panels of i8 or i4 codes.
 *
 * A tile multiplies up to ROWS rows of x with up to PANELS panels of W, over one superblock of 256
 * inputs. The sums of a block's products are exact in int32. Each is multiplied by the block's m
 * and added up in two parts: the total of the superblock is 128 * high + low, exactly, whatever the
 * parts are. Then the total is rounded to f32 once, multiplied by the scale of x, and added to what
 * the superblocks before gave. At the end come the row's scale and the bias. Each of these
 * multiplications and additions is rounded by itself, in the order of k. So the bits depend neither
 * on the tile nor on the instruction set.
 *
 * i8 codes are read as they are stored. A superblock of i4 codes is unpacked first, once for all
 * rows, into a strip of bytes T[code] + c + 128 that stays in L1.
 *
 * The including file defines TARGET, PLANES (how x is packed), LANES of an int32 vector, ROWS,
 * PANELS, and the types and functions of its vectors:
 *
 *     ivec iv_zero(), iv_load(const void *), iv_add(a, b), iv_mul(a, b)
 *     wvec load_w(const unsigned char *)     LANES groups of 4 bytes of weights
 *     xvec load_x(const unsigned char *)     4 codes of x, in every lane
 *     struct parts {ivec ...}                sums of products; sum_begin(corrections),
 *                                            sum_add(parts *, w, x), sum_merge(parts *, parts)
 *     void add_block(ivec *low, ivec *high, const struct parts *, ivec m)
 *     void add_total(float *y, ivec low, ivec high, float f)
 *                                            y [LANES] += (float)(128 * high + low) * f
 *     void unpack_lines(unsigned char *to, const unsigned char *codes, const int8_t *table,
 *                       const unsigned char *low, const unsigned char *high)
 *                                            32 inputs: table[code] + the row's byte of low or high
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/matmul_int.h"
#include "kernels/table.h"

enum {
    VECS = PANEL_ROWS / LANES,  // vectors of a panel's outputs
    MAX_VECS = PANELS * VECS,   // of a tile's outputs
    MAX_SPLIT = 4,              // sums of an output at the same time
    OUTS = PANELS * PANEL_ROWS, // of a tile
    NIBBLES = 32,               // inputs of i4 that are unpacked together,
    NIBBLE_BYTES = 256,         // their bytes
    LINES = PANEL_SUPER / INT_STEP,
    MAX_BLOCKS = PANEL_SUPER / 16,
    AHEAD = 2304, // bytes beyond the next superblock's beginning: about one more is on its way
};

/* A superblock of a panel, as tiles read it. */
struct int_strip {
    _Alignas(64) int32_t m[MAX_BLOCKS * PANEL_ROWS]; // [blocks, 16]
    unsigned char bytes[LINES * PANEL_LINE];         // of i4
    const unsigned char *codes;                      // [n / 4] lines
    const unsigned char *ahead;                      // what is prefetched while they are read
};

/* A superblock of panels with rows of x. */
struct int_tile {
    const struct int_strip *strips; // [P]
    const unsigned char *x;         // of the first row, of this superblock: codes,
    const unsigned char *sums;      // corrections,
    const unsigned char *scale;     // and the scale
    size_t stride, n;               // from row to row of x; inputs
    float *y;                       // [R, OUTS]
};

/* Adds the products of lines [line, line + n_lines) to out. An output has S sums, one for every Sth
 * line, so that a single row of x does not wait for one chain. After `every` lines one line of W is
 * prefetched: i4 codes take half the lines in memory. */
TARGET EVERY_ISA void sum_block(const size_t R, const size_t P, const size_t S, const size_t every,
                                struct parts out[ROWS][MAX_VECS], const struct int_tile *t,
                                size_t line, const size_t n_lines) {
    struct parts s[MAX_SPLIT][ROWS][MAX_VECS];
    UNROLLED for (size_t i = 1; i < S; i++) UNROLLED for (size_t r = 0; r < R; r++)
        UNROLLED for (size_t v = 0; v < P * VECS; v++) s[i][r][v] = sum_begin(NULL);
    UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++)
        s[0][r][v] = out[r][v];
    for (size_t l = line; l < line + n_lines; l += S)
        UNROLLED for (size_t i = 0; i < S; i++) {
            wvec w[MAX_VECS];
            UNROLLED for (size_t v = 0; v < P * VECS; v++) w[v] = load_w(
                t->strips[v / VECS].codes + (l + i) * PANEL_LINE + v % VECS * LANES * INT_STEP);
            if (i % every == 0)
                UNROLLED for (size_t p = 0; p < P; p++) __builtin_prefetch(
                    t->strips[p].ahead + AHEAD + (l + i) / every * PANEL_LINE, 0, 3);
            UNROLLED for (size_t r = 0; r < R; r++) {
                const xvec x = load_x(t->x + r * t->stride + (l + i) * INT_STEP_BYTES);
                UNROLLED for (size_t v = 0; v < P * VECS; v++) sum_add(&s[i][r][v], w[v], x);
            }
        }
    UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++) {
        UNROLLED for (size_t i = 1; i < S; i++) sum_merge(&s[0][r][v], s[i][r][v]);
        out[r][v] = s[0][r][v];
    }
}

/* A tile's superblock. */
TARGET EVERY_ISA void multiply_tile(const size_t R, const size_t P, const enum mat_layout layout,
                                    const struct int_tile *tile) {
    const struct int_tile t = *tile; // in registers: stores to y do not change it
    const size_t S = R == 1 ? 4 : 1, block = layout == MAT_I4_16 ? 16 : 32,
                 n_lines = block / INT_STEP, sum_bytes = int_sum_bytes(PLANES);
    ivec low[ROWS][MAX_VECS], high[ROWS][MAX_VECS];
    UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++)
        low[r][v] = high[r][v] = iv_zero();
    for (size_t b = 0; b < t.n / block; b++) {
        struct parts s[ROWS][MAX_VECS];
        UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++)
            s[r][v] = sum_begin(t.sums + r * t.stride + b * sum_bytes);
        sum_block(R, P, S, layout == MAT_I8 ? 1 : 2, s, &t, b * n_lines, n_lines);
        UNROLLED for (size_t v = 0; v < P * VECS; v++) {
            const ivec m = iv_load(t.strips[v / VECS].m + b * PANEL_ROWS + v % VECS * LANES);
            UNROLLED for (size_t r = 0; r < R; r++) add_block(&low[r][v], &high[r][v], &s[r][v], m);
        }
    }
    UNROLLED for (size_t r = 0; r < R; r++) {
        float scale;
        memcpy(&scale, t.scale + r * t.stride, sizeof scale);
        UNROLLED for (size_t v = 0; v < P * VECS; v++)
            add_total(t.y + r * OUTS + v * LANES, low[r][v], high[r][v], scale);
    }
}
typedef void tile_fn(const struct int_tile *t);

/* ---- Strips ---- */

/* Inputs with one descriptor. Tiles read nf4's as those of two blocks of 32. */
EVERY_ISA size_t stored_block(const enum mat_layout layout) {
    return layout == MAT_I8 ? PANEL_I8_BLOCK : mat_i4_block(layout);
}

/* The m of n blocks. */
EVERY_ISA void unpack_m(int32_t *m, const unsigned char *descriptors, size_t n,
                        const enum mat_layout layout) {
    for (size_t i = 0; i < n * PANEL_ROWS; i++) {
        const size_t at =
            layout == MAT_I4_64 ? i / (2 * PANEL_ROWS) * PANEL_ROWS + i % PANEL_ROWS : i;
        m[i] = layout == MAT_I8 ? descriptors[at] : panel_i4_m(descriptors[at]);
    }
}

/* c + 128 of 16 descriptors. */
EVERY_ISA void panel_adds(unsigned char *to, const unsigned char *descriptors) {
    for (size_t r = 0; r < PANEL_ROWS; r++)
        to[r] = (unsigned char)(PANEL_I8_OFFSET + (descriptors[r] >> 6) * PANEL_I4_SHIFT_STEP);
}

/* The superblock that begins at `super`. `ahead`: the one that is read after it. */
TARGET EVERY_ISA void strip_begin(struct int_strip *s, const enum mat_layout layout,
                                  const unsigned char *super, size_t n,
                                  const unsigned char *ahead) {
    const size_t block = layout == MAT_I4_16 ? 16 : 32;
    const size_t stored = stored_block(layout);
    const unsigned char *codes = super + panel_descriptor_bytes(n, stored);
    s->codes = codes;
    s->ahead = ahead;
    unpack_m(s->m, super, n / block, layout);
    if (layout == MAT_I8)
        return;
    const int8_t *table = panel_i4_table(stored);
    s->codes = s->bytes;
    for (size_t i = 0; i < n / NIBBLES; i++) {
        unsigned char low[PANEL_ROWS], high[PANEL_ROWS];
        const unsigned char *of_low = super + i * NIBBLES / stored * PANEL_ROWS;
        panel_adds(low, of_low);
        if (layout == MAT_I4_16)
            panel_adds(high, of_low + PANEL_ROWS);
        unpack_lines(s->bytes + i * 2 * NIBBLE_BYTES, codes + i * NIBBLE_BYTES, table, low,
                     layout == MAT_I4_16 ? high : low);
    }
}

/* ---- Parts ---- */

/* y [n_rows, n_out] of a tile's panels: sums times the rows' scales, and the bias. */
TARGET EVERY_ISA void store_outputs(const struct matmul_part *m, const float *sums, size_t first,
                                    size_t panel_size) {
    const size_t left = m->n_out - first, n = left < OUTS ? left : OUTS;
    float scales[OUTS];
    for (size_t p = 0; p * PANEL_ROWS < n; p++)
        memcpy(scales + p * PANEL_ROWS, m->w + (first / PANEL_ROWS + p) * panel_size,
               PANEL_ROWS * sizeof *scales);
    for (size_t r = 0; r < m->n_rows; r++) {
        float *y = m->y + r * m->ldy + first;
        for (size_t i = 0; i < n; i++)
            y[i] = sums[r * OUTS + i] * scales[i];
        for (size_t i = 0; m->bias && i < n; i++)
            y[i] += m->bias[first + i];
    }
}

/* About equal tiles: rows of the next one. */
EVERY_ISA size_t tile_rows(size_t left) {
    const size_t tiles = (left + ROWS - 1) / ROWS;
    return (left + tiles - 1) / tiles;
}

/* Outputs [first, first + 16 P). What comes after a panel's last superblock is prefetched, too. */
TARGET EVERY_ISA void multiply_outputs(const enum mat_layout layout, const struct matmul_part *m,
                                       tile_fn *const *tiles, size_t first, size_t P,
                                       size_t panel_size) {
    const size_t block = layout == MAT_I4_16 ? 16 : 32, line = layout == MAT_I8 ? 64 : 32,
                 sum_bytes = int_sum_bytes(PLANES);
    const struct int_row at = int_row_of(m->n_in, PLANES);
    const size_t sums_at = layout == MAT_I4_16 ? at.sums16 : at.sums32;
    const unsigned char *x = m->x, *w = m->w + first / PANEL_ROWS * panel_size;
    _Alignas(64) float sums[MATMUL_INT_ROWS * OUTS];
    struct int_strip strips[PANELS];
    memset(sums, 0, m->n_rows * OUTS * sizeof *sums);
    for (size_t k = 0; k < m->n_in; k += PANEL_SUPER) {
        const struct panel_super s = panel_super_of(k, m->n_in, stored_block(layout), line);
        const bool last = k + PANEL_SUPER >= m->n_in;
        for (size_t p = 0; p < P; p++) {
            const unsigned char *super = w + p * panel_size + s.at,
                                *after = w + (p + P) * panel_size + PANEL_LINE;
            strip_begin(&strips[p], layout, super, s.n,
                        last ? after : super + (s.codes - s.at) + s.n / INT_STEP * line);
        }
        for (size_t r = 0, R; r < m->n_rows; r += R) {
            R = tile_rows(m->n_rows - r);
            const unsigned char *row = x + r * at.stride;
            tiles[R](&(struct int_tile){.strips = strips,
                                        .x = row + k / INT_STEP * INT_STEP_BYTES,
                                        .sums = row + sums_at + k / block * sum_bytes,
                                        .scale = row + at.scales + k / PANEL_SUPER * sizeof(float),
                                        .stride = at.stride,
                                        .n = s.n,
                                        .y = sums + r * OUTS});
        }
    }
    store_outputs(m, sums, first, panel_size);
}

/* A part, with tiles of each number of panels and rows. */
TARGET EVERY_ISA void multiply_part(const enum mat_layout layout, const struct matmul_part *m,
                                    tile_fn *const tiles[PANELS + 1][ROWS + 1]) {
    const size_t panel_size =
        layout == MAT_I8 ? panel_i8_bytes(m->n_in) : panel_i4_bytes(m->n_in, stored_block(layout));
    for (size_t first = 0, P; first < m->n_out; first += P * PANEL_ROWS) {
        const size_t left = (m->n_out - first + PANEL_ROWS - 1) / PANEL_ROWS;
        P = left < PANELS ? left : PANELS;
        multiply_outputs(layout, m, tiles[P], first, P, panel_size);
    }
}

/* A function of its own for each tile. */
#define TILE(name, R, P, layout)                                                                   \
    TARGET __attribute__((noinline)) static void name(const struct int_tile *t) {                  \
        multiply_tile(R, P, layout, t);                                                            \
    }                                                                                              \
    struct int_tile

/* ---- The kernels of all layouts ---- */

static size_t int_block_rows(size_t n_in) {
    (void)n_in;
    return MATMUL_INT_ROWS;
}
static size_t int_panels(size_t n_rows) {
    return n_rows;
}
static size_t x_bytes(size_t n_rows, size_t n_in) {
    return int_x_bytes(n_rows, n_in, PLANES);
}
TARGET static void pack_x(const struct matmul_pack *p, size_t begin, size_t end) {
    const size_t stride = int_row_of(p->n_in, PLANES).stride;
    for (size_t r = begin; r < end; r++)
        int_pack_row((unsigned char *)p->to + r * stride, p->x + r * p->ldx, p->n_in, p->order,
                     PLANES);
}

/* TILES(KIND, FN, NAME, LAYOUT) defines functions of each size with KIND, and their list
 * tiles_NAME. The including file does it for more than one panel. */
#if !defined(TILES)
#define TILES(kind, fn, name, layout)                                                              \
    kind(tile_1_##name, 1, 1, layout);                                                             \
    kind(tile_2_##name, 2, 1, layout);                                                             \
    static fn *const tiles_##name[PANELS + 1][ROWS + 1] = {{NULL},                                 \
                                                           {NULL, tile_1_##name, tile_2_##name}}
#endif
#define INT_KERNEL(name, layout)                                                                   \
    TILES(TILE, tile_fn, name, layout);                                                            \
    TARGET static void multiply_##name(const struct matmul_part *m) {                              \
        multiply_part(layout, m, tiles_##name);                                                    \
    }                                                                                              \
    struct int_tile
#define INT_ENTRY(name, l)                                                                         \
    {                                                                                              \
        .layout = l, .panel_rows = PANEL_ROWS, .x_bytes = x_bytes, .n_panels = int_panels,         \
        .block_rows = int_block_rows, .pack_x = pack_x, .multiply = multiply_##name                \
    }
INT_KERNEL(i8, MAT_I8);
INT_KERNEL(i4_32, MAT_I4_32);
INT_KERNEL(i4_16, MAT_I4_16);
INT_KERNEL(nf4, MAT_I4_64);
static const struct matmul_kernel int_kernels[] = {
    INT_ENTRY(i8, MAT_I8), INT_ENTRY(i4_32, MAT_I4_32), INT_ENTRY(i4_16, MAT_I4_16),
    INT_ENTRY(nf4, MAT_I4_64)};
enum { N_INT_KERNELS = sizeof int_kernels / sizeof *int_kernels };
