/* The inner loops of matmul, written once: each matmul_ISA.c includes this after it has defined
 *
 *   TARGET              the function attribute of the instruction set
 *   vec, STEP           a vector of partial sums; elements of k that one multiply_add takes
 *   x_elem              an element of x: float, or uint16_t where x is packed as bf16
 *   ROWS, OUTS          the register tile: ROWS * OUTS sums, OUTS vectors of W and one of x
 *   OUTS_1              the rows of W that one row of x takes: enough sums to hide the latency of
 *                       multiply_add, and no more, because each is a stream of memory
 *   load_x(p, n)        n elements, STEP or fewer; the rest is zero; nothing after them is read
 *   load_w(layout, p, n)
 *   multiply_add(acc, x, w)
 *   vec_zero()
 *   sum_lanes(y, v, n)  the sum of the lanes of each of n vectors, in one fixed tree; y has room
 *                       for a multiple of four floats
 *   x_at(x, ldx, R, r, k)  where element k of row r of a panel of R rows is
 *   x_stride(m)         from panel to panel, in elements for each row
 *   prefetch_every(O)   steps between two prefetches in a tile of O outputs
 *
 * A tile takes R rows of x and O rows of W. R, O and the layout are constants after inlining. An
 * output element has one vector of sums, whatever tile it is in, and k only grows: the additions
 * have the same order everywhere.
 *
 *          k ->                 A chunk of W (MATMUL_CHUNK_OUTS rows) stays in L2 while all rows of
 *      +--------+ chunk         x of the block use it. Where rows are long, k is cut into parts, so
 *    W |  part  |               that the rows of a tile stay in L1. The next part of W is
 *      +--------+               prefetched at the same time.
 *      +--------+ panel of R rows
 *    x |        |
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/prefetch.h"

enum { MAX_ROWS = 8, MAX_OUTS = 6 }; // of any tile

/* What tiles read, beside the layouts of plain weights: f32 in tiles, as pack_w packs them. */
enum { W_TILES = MAT_LAYOUTS };

EVERY_ISA size_t w_size(const enum mat_layout layout) {
    return layout == MAT_F32 || layout == (enum mat_layout)W_TILES ? 4 : 2;
}

/* ---- One row of x ---- */

/* Outputs first, first + apart, ...: O of them. It waits for memory. MATMUL_BURST_BYTES of each row
 * of W in turn keep the streams of the CPU's prefetchers few and long. Where those are not enough,
 * kernel.row_ahead bytes further are prefetched; the rows after these in memory are next. */
TARGET EVERY_ISA void one_row(const size_t O, const enum mat_layout layout,
                              const struct matmul_part *m, size_t first, size_t apart) {
    const size_t size = w_size(layout), steps = MATMUL_BURST_BYTES / (STEP * size), n = m->n_in;
    const size_t stride = apart * n * size;
    const unsigned char *w = m->w + first * n * size;
    const x_elem *x = m->x;
    vec s[OUTS_1];
    UNROLLED for (size_t o = 0; o < O; o++) s[o] = vec_zero();
    const size_t ahead = kernel.row_ahead;
    size_t k = 0;
    for (; k + steps * STEP <= n; k += steps * STEP)
        for (size_t i = 0; i < steps; i++) {
            const unsigned char *wi = w + (k + i * STEP) * size;
            if (ahead && i * STEP * size % 64 == 0) // a new line
                UNROLLED for (size_t o = 0; o < O; o++)
                    __builtin_prefetch(wi + o * stride + ahead, 0, 3);
            vec xv = load_x(x + k + i * STEP, STEP);
            UNROLLED for (size_t o = 0; o < O; o++) s[o] =
                multiply_add(s[o], xv, load_w(layout, wi + o * stride, STEP));
        }
    for (size_t left; k < n; k += left) {
        left = n - k < STEP ? n - k : STEP;
        vec xv = load_x(x + k, left);
        UNROLLED for (size_t o = 0; o < O; o++) s[o] =
            multiply_add(s[o], xv, load_w(layout, w + o * stride + k * size, left));
    }
    float out[8];
    sum_lanes(out, s, O);
    UNROLLED for (size_t o = 0; o < O; o++) m->y[first + o * apart] =
        m->bias ? out[o] + m->bias[first + o * apart] : out[o];
}

/* Rows of W that are n_out / OUTS_1 apart go together, so that memory is read as long streams: the
 * CPU's prefetchers follow those, and lose streams that end after one row. */
TARGET EVERY_ISA void multiply_row(const enum mat_layout layout, const struct matmul_part *m) {
    const size_t run = m->n_out / OUTS_1;
    for (size_t o = 0; o < run; o++)
        one_row(OUTS_1, layout, m, o, run);
    for (size_t o = run * OUTS_1; o < m->n_out; o++)
        one_row(1, layout, m, o, 1);
}

/* ---- A register tile ---- */

/* R rows of x with n_out rows of W: of their n elements [from, to). */
struct panel {
    float *y; // [R, n_out], stride ldy
    const x_elem *x;
    const unsigned char *w;
    const float *bias;
    vec *partial; // [n_out, R]: sums of what is before `from`, then of what is before `to`
    size_t ldy, ldx, n_out, from, to, n;
    bool backwards; // from the last tile to the first
    struct prefetch *prefetch;
};

/* n elements, and zeros up to a whole step. */
EVERY_ISA size_t whole_steps(size_t n) {
    return (n + STEP - 1) / STEP * STEP;
}

/* The sums of what is before k = from. */
TARGET EVERY_ISA void tile_begin(const size_t R, const size_t O, vec s[MAX_ROWS][MAX_OUTS],
                                 const vec *partial, size_t from) {
    UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t o = 0; o < O; o++) s[r][o] =
        from > 0 ? partial[r * O + o] : vec_zero();
}

/* W of outputs [first, first + O), from the start of their rows; where W is packed, from k = from.
 */
EVERY_ISA const unsigned char *tile_w(const enum mat_layout layout, const struct panel *p,
                                      size_t first) {
    const size_t row = layout == (enum mat_layout)W_TILES ? whole_steps(p->to - p->from) : p->n;
    return p->w + first * row * w_size(layout);
}

/* n elements from k on of row o of a tile. A packed row is filled with zeros to a whole step. */
TARGET EVERY_ISA vec tile_load(const size_t O, const enum mat_layout layout, const struct panel *p,
                               const unsigned char *w, size_t o, size_t k, size_t n) {
    if (layout == (enum mat_layout)W_TILES)
        return load_w(MAT_F32, w + (O * (k - p->from) + o * STEP) * sizeof(float), STEP);
    return load_w(layout, w + (o * p->n + k) * w_size(layout), n);
}

/* Adds n elements from k on, STEP or fewer. w: as tile_w gives it. */
TARGET EVERY_ISA void tile_step(const size_t R, const size_t O, const enum mat_layout layout,
                                vec s[MAX_ROWS][MAX_OUTS], const struct panel *p,
                                const unsigned char *w, size_t k, size_t n) {
    vec wv[MAX_OUTS];
    UNROLLED for (size_t o = 0; o < O; o++) wv[o] = tile_load(O, layout, p, w, o, k, n);
    UNROLLED for (size_t r = 0; r < R; r++) {
        vec xv = load_x(x_at(p->x, p->ldx, R, r, k), n);
        UNROLLED for (size_t o = 0; o < O; o++) s[r][o] = multiply_add(s[r][o], xv, wv[o]);
    }
}

/* Outputs [first, first + O) are done, or their sums are saved for the next part of k. */
TARGET EVERY_ISA void tile_end(const size_t R, const size_t O, vec s[MAX_ROWS][MAX_OUTS],
                               const struct panel *p, size_t first) {
    if (p->to < p->n) {
        UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t o = 0; o < O; o++)
            p->partial[first * R + r * O + o] = s[r][o];
        return;
    }
    const float *bias = p->bias ? p->bias + first : NULL;
    UNROLLED for (size_t r = 0; r < R; r += 2) { // sum_lanes takes four vectors at a time
        const size_t rows = R - r < 2 ? 1 : 2;
        vec flat[2 * MAX_OUTS];
        float out[2 * MAX_OUTS + 4];
        UNROLLED for (size_t i = 0; i < rows; i++) UNROLLED for (size_t o = 0; o < O; o++)
            flat[i * O + o] = s[r + i][o];
        sum_lanes(out, flat, rows * O);
        UNROLLED for (size_t i = 0; i < rows; i++) {
            if (bias)
                UNROLLED for (size_t o = 0; o < O; o++) out[i * O + o] += bias[o];
            memcpy(p->y + first + (r + i) * p->ldy, out + i * O, O * sizeof *out);
        }
    }
}

/* Outputs [first, first + O) of the panel. f goes on at the same time. */
TARGET EVERY_ISA void tile(const size_t R, const size_t O, const enum mat_layout layout,
                           const struct panel *panel, size_t first, struct prefetch *f) {
    const size_t every = prefetch_every(O);
    const struct panel p = *panel; // in registers: stores to y and partial do not change it
    const unsigned char *w = tile_w(layout, &p, first);
    vec s[MAX_ROWS][MAX_OUTS];
    UNROLLED for (size_t r = 0; r < R; r++) __builtin_prefetch(p.y + first + r * p.ldy, 1);
    tile_begin(R, O, s, p.partial + first * R, p.from);
    struct prefetch go = *f;
    size_t k = p.from;
    while (k + every * STEP <= p.to) {
        prefetch_step(&go);
        for (size_t i = 0; i < every; i++, k += STEP)
            tile_step(R, O, layout, s, &p, w, k, STEP);
    }
    for (; every > 1 && k + STEP <= p.to; k += STEP)
        tile_step(R, O, layout, s, &p, w, k, STEP);
    *f = go;
    if (k < p.to)
        tile_step(R, O, layout, s, &p, w, k, p.to - k);
    tile_end(R, O, s, &p, first);
}

/* ---- Blocks ---- */

/* All outputs of a panel. Every second panel goes backwards, so that it begins with the rows of W
 * where the panel before ended: those are in L1 still, and only x has to come. */
TARGET EVERY_ISA void run_panel(const size_t R, const size_t O, const enum mat_layout layout,
                                const struct panel *p) {
    const size_t groups = p->n_out / O;
    struct prefetch nothing = {0};
    for (size_t i = 0; i < groups; i++)
        tile(R, O, layout, p, (p->backwards ? groups - 1 - i : i) * O, p->prefetch);
    for (size_t o = groups * O; o < p->n_out; o++)
        tile(R, 1, layout, p, o, &nothing);
}
typedef void panel_fn(const struct panel *p);

/* Defines panel_fn `name`. It is a function of its own, because compilers then find registers for
 * all of the inner loop. The declaration at the end takes a semicolon. */
#define PANEL(name, R, O, layout)                                                                  \
    TARGET __attribute__((noinline)) static void name(const struct panel *p) {                     \
        run_panel(R, O, layout, p);                                                                \
    }                                                                                              \
    struct panel

/* How a part is cut. */
struct cut {
    size_t n_panels, outs;   // panels of x, outputs of a tile
    size_t chunk, part;      // rows of W, elements of k
    panel_fn *const *panels; // by rows
    float *tiles;            // room for a part of a chunk, packed; NULL: W is read as it is
};

/* Elements of k in a part of at most `most` bytes of x: about equal parts, in whole steps. */
EVERY_ISA size_t part_of_bytes(size_t n, size_t most) {
    const size_t parts = 1 + n * sizeof(x_elem) / (most + 1);
    return (n + parts * STEP - 1) / (parts * STEP) * STEP;
}

/* The same for n_rows rows of n. */
EVERY_ISA size_t part_of_row(size_t n, size_t n_rows) {
    return part_of_bytes(n, n_rows < MATMUL_BLOCK_ROWS ? MATMUL_X_FEW_BYTES : MATMUL_X_ROW_BYTES);
}

/* About equal panels: rows of the next one. */
EVERY_ISA size_t panel_rows(size_t rows_left, size_t panels_left) {
    return (rows_left + panels_left - 1) / panels_left;
}

/* What is multiplied after elements of k before `to` of the chunk at output o: the next part of the
 * same rows of W, or the first part of the next chunk, or of m->next. */
EVERY_ISA struct prefetch prefetch_part(const struct matmul_part *m, const struct cut *c,
                                        const size_t size, size_t o, size_t to) {
    const size_t stride = m->n_in * size, left = m->n_out - o;
    struct matmul_rows rows = {m->w + o * stride, left, stride};
    size_t offset = to;
    if (to == m->n_in) {
        offset = 0;
        rows = left > c->chunk
                   ? (struct matmul_rows){rows.data + c->chunk * stride, left - c->chunk, stride}
                   : m->next;
    }
    if (!m->w_is_cold && (to < m->n_in || left > c->chunk))
        rows.n = 0;
    const size_t part = (m->n_in - offset < c->part ? m->n_in - offset : c->part) * size,
                 bytes = part < rows.row_bytes ? part : rows.row_bytes;
    return prefetch_rows(rows.data + offset * size, bytes, rows.row_bytes,
                         rows.n < c->chunk ? rows.n : c->chunk);
}

/* n elements of each of n_out rows, `stride` bytes apart, as tiles of O rows, and then of one:
 *
 *     | row 0, STEP of k | row 1, STEP of k | ... | row O - 1 | row 0, the next STEP | ...
 *
 * A tile is one aligned stream of memory then. Rows in a file seldom begin at a cache line, and a
 * vector that is in two lines takes two loads. Rows of 4096 bytes all begin in one set of L1. */
TARGET EVERY_ISA void pack_w(const enum mat_layout layout, const size_t O, float *to,
                             const unsigned char *w, size_t stride, size_t n_out, size_t n) {
    for (size_t i = 0, rows; i < n_out; i += rows) {
        rows = n_out - i < O ? 1 : O;
        for (size_t k = 0; k < n; k += STEP)
            for (size_t o = 0; o < rows; o++, to += STEP)
                vec_store(to,
                          load_w(layout, w + (i + o) * stride + k * w_size(layout),
                                 n - k < STEP ? n - k : STEP),
                          STEP);
    }
}

/* The whole part, as cut. */
TARGET EVERY_ISA void multiply_panels(const enum mat_layout layout, const struct matmul_part *m,
                                      const struct cut *c) {
    const size_t stride = m->n_in * w_size(layout);
    vec partial[MATMUL_CHUNK_OUTS * MATMUL_BLOCK_ROWS];
    bool backwards = true;
    for (size_t o = 0, n; o < m->n_out; o += n) {
        n = m->n_out - o < c->chunk ? m->n_out - o : c->chunk;
        for (size_t from = 0, to; from < m->n_in; from = to) {
            to = m->n_in - from < c->part ? m->n_in : from + c->part;
            struct prefetch f = prefetch_part(m, c, w_size(layout), o, to);
            const unsigned char *w = m->w + o * stride;
            if (c->tiles) {
                pack_w(layout, c->outs, c->tiles, w + from * w_size(layout), stride, n, to - from);
                w = (const unsigned char *)c->tiles;
            }
            const size_t steps = n / c->outs * ((to - from) / (STEP * prefetch_every(c->outs)));
            for (size_t r = 0, i = 0, R; r < m->n_rows; r += R, i++) {
                R = panel_rows(m->n_rows - r, c->n_panels - i);
                prefetch_spread(&f, R, m->n_rows, steps);
                backwards = !backwards;
                c->panels[R](&(struct panel){.y = m->y + r * m->ldy + o,
                                             .x = (const x_elem *)m->x + r * x_stride(m),
                                             .w = w,
                                             .bias = m->bias ? m->bias + o : NULL,
                                             .partial = partial + (c->part < m->n_in ? r * n : 0),
                                             .ldy = m->ldy,
                                             .ldx = m->ldx,
                                             .n_out = n,
                                             .from = from,
                                             .to = to,
                                             .n = m->n_in,
                                             .backwards = backwards,
                                             .prefetch = &f});
            }
        }
    }
}
