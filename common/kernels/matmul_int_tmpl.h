/* The matmul kernels of the integer layouts, for one instruction set: rounded x (matmul_int.h) with
 * panels of i8 or i4 codes.
 *
 * A tile multiplies rows of x with up to PANELS panels of W, over one superblock of 256 inputs. All
 * its sums are exact integers, whatever their order. Then the total is rounded to f32 once,
 * multiplied by the scale of x, and added to what the superblocks before gave. At the end come the
 * row's scale and the bias. Each of these multiplications and additions is rounded by itself, in
 * the order of k. So the bits depend neither on the tile nor on the instruction set.
 *
 * Few rows wait for memory, so they read the codes as they are stored: those of i4 are looked up in
 * registers, and go into the products. They are bytes T + 128; x's corrections take 128 - c back.
 * More rows share a strip of int16 in L1: of i8 w, of i4 m * (T + c), whose products need no
 * scales. Tiles read a block of nf4, which has 64 inputs, as two of 32.
 *
 * Ranges: codes of x are at most 16256 = 2^14, w of i8 128, m * w 32640. Of i4 T + c is from -124
 * to 124 and m from -32 to 31, so m * (T + c) is at most 3968, and the sum of 32 products at most
 * 2,064,121,856 < 2^31. A total has up to 36 bits: see struct total.
 *
 * The including file defines TARGET; PLANES: whether few rows of x are; LANES of an int32 vector;
 * PANELS; FEW and MANY, the rows of a tile of few, at most 3, and of many, at most 4; FEW_HALVES
 * and FEW_BYTES, up to how many rows are few where codes of W have 4 bits, and 8; and the types and
 * functions of its vectors. Sums wrap at 32 bits.
 *
 *     ivec iv_load(const void *), iv_set(int32_t), iv_add(a, b), iv_sub(a, b), iv_mul(a, b),
 *          iv_shl(v, n), iv_sra16(v), iv_low16(v)
 *     ivec spread(const unsigned char *)          an int32 in every lane
 *     ivec iv_bytes(const unsigned char *)        LANES bytes as int32
 *     ivec iv_dot16(sum, a, b)                    sum + the products of both halves, as int16
 *     ivec iv_choose(const unsigned char *four, ivec index)    int32 four[index % 4]
 *     void i4_fields(const unsigned char *descriptors, ivec *m, ivec *shift)   shift % 4 is c / 4
 *     ivec iv_table(const int8_t *table, int add) bytes table[0..15] + add
 *     ivec look_up(ivec codes, ivec table, size_t high)   of the low or high half of each byte
 *     ivec iv_sub8(a, b)                          bytes
 *     void store_pairs(unsigned char *to, ivec bytes, ivec factors)
 *                                                 int16 (int8) byte * factor, as struct int_strip;
 *                                                 factors: int16 256 * factor, twice a lane
 *     void store_wide(unsigned char *to, ivec bytes, ivec zeros)   the same of (uint8) byte - zero
 *     wvec w_of(ivec bytes), xvec load_x(const unsigned char *)   of few rows: see sum_add
 *     struct parts {ivec ...}                     sums of products of few rows:
 *                                                 sum_begin(ivec), sum_add(parts *, w, x), sum_of
 *     fvec fv_of(ivec), fv_set(float), fv_load, fv_store, fv_add, fv_mul
 *     fvec fv_fma(a, b, c)                        a * b + c, rounded once
 *     void panel_f16(float *to, const void *from) 16 values of F16
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/matmul_int.h"
#include "kernels/table.h"

enum {
    ROWS = 4,                     // of x: the most in a tile of many rows
    FEW_ROWS = 3,                 // the most in a tile of few
    VECS = PANEL_ROWS / LANES,    // vectors of a panel's outputs
    MAX_VECS = PANELS * VECS,     // of a tile's outputs
    VEC_BYTES = LANES * INT_STEP, // of W's bytes for a vector of outputs
    OUTS = PANELS * PANEL_ROWS,   // of a tile
    CHUNK = 32,                   // inputs of i4 whose codes are stored together,
    CHUNK_LINES = CHUNK / 8,      // in this many lines, of 4 inputs in the low halves and 4 in
    CHUNK_BYTES = 256,            // the high ones
    LINES = PANEL_SUPER / INT_STEP,
    PAIRS_LINE = 2 * PANEL_LINE, // bytes of 4 inputs as int16
    // Bytes that are prefetched beyond the next superblock's beginning: about one more is on its
    // way.
    AHEAD = 2304,
};

/* A superblock of a panel, as tiles read it. */
struct int_strip {
    // int16 [LINES, VECS, 2, LANES, 2]: of each row inputs (0, 2), then (1, 3).
    _Alignas(64) unsigned char pairs[LINES * PAIRS_LINE];
    const unsigned char *descriptors, *codes; // as they are stored
    const unsigned char *ahead;               // what is prefetched while they are read
};

/* A superblock of panels with rows of x. */
struct int_tile {
    const struct int_strip *strips; // [P]
    const unsigned char *x;         // of the first row, of this superblock: codes,
    const unsigned char *sums;      // corrections,
    const unsigned char *scale;     // and the scale
    size_t stride, n;               // from row to row of x; inputs
    bool prefetches;                // the first rows do
    float *y;                       // [R, OUTS]
};
typedef void tile_fn(const struct int_tile *t);

/* Inputs with one descriptor. */
EVERY_ISA size_t stored_block(const enum mat_layout layout) {
    return layout == MAT_I8 ? PANEL_I8_BLOCK : mat_i4_block(layout);
}
/* Where the descriptors of block b begin, of i4 or nf4. A block has 16 or 32 inputs here: two of
 * nf4 share their descriptors. */
EVERY_ISA size_t descriptors_at(const enum mat_layout layout, size_t b) {
    return (layout == MAT_I4_64 ? b / 2 : b) * PANEL_ROWS;
}

/* Prefetches lines [line, line + n) of what comes next. */
TARGET EVERY_ISA void prefetch_lines(size_t P, const struct int_tile *t, size_t line, size_t n) {
    for (size_t l = line; l < line + n; l++)
        UNROLLED for (size_t p = 0; p < P; p++)
            __builtin_prefetch(t->strips[p].ahead + AHEAD + l * PANEL_LINE, 0, 3);
}
/* Those that correspond to the descriptors; the codes of a superblock come before them. */
TARGET EVERY_ISA void prefetch_rest(size_t P, const struct int_tile *t, enum mat_layout layout) {
    const size_t n_lines = t->n / INT_STEP / (layout == MAT_I8 ? 1 : 2),
                 bytes = panel_descriptor_bytes(t->n, stored_block(layout));
    prefetch_lines(P, t, n_lines, bytes / PANEL_LINE);
}

/* ---- Totals ---- */

/* The total of a superblock is 65536 * high + r, where `all` is the total modulo 2^32. high adds up
 * parts that were rounded down, by less than 1 each: 8 of them, times m <= 255 where the layout is
 * i8. So 0 <= r < 2^27, and it follows from `all`. */
struct total {
    ivec all, high;
};
/* Adds the products of 32 inputs. */
TARGET EVERY_ISA void add_product(struct total *t, ivec p) {
    t->all = iv_add(t->all, p);
    t->high = iv_dot16(t->high, p, iv_set(1 << 16));
}
/* The same of i8: s * m, which may have more than 32 bits. */
TARGET EVERY_ISA void add_scaled(struct total *t, ivec s, ivec m) {
    t->all = iv_add(t->all, iv_mul(s, m));
    t->high = iv_dot16(t->high, s, iv_shl(m, 16));
}
/* y [LANES] += (float)total * f. Both parts are below 2^24, so exact in f32. */
TARGET EVERY_ISA void add_total(float *y, const struct total *t, float f) {
    const ivec r = iv_sub(t->all, iv_shl(t->high, 16)), high = iv_add(t->high, iv_sra16(r));
    const fvec total = fv_fma(fv_of(high), fv_set(65536), fv_of(iv_low16(r)));
    fv_store(y, fv_add(fv_load(y), fv_mul(total, fv_set(f))));
}

/* The end of a tile's superblock: y grows by each total, times the scale of x. */
TARGET EVERY_ISA void add_totals(const size_t R, const size_t P, const struct int_tile *t,
                                 struct total total[][MAX_VECS]) {
    UNROLLED for (size_t r = 0; r < R; r++) {
        float scale;
        memcpy(&scale, t->scale + r * t->stride, sizeof scale);
        UNROLLED for (size_t v = 0; v < P * VECS; v++)
            add_total(t->y + r * OUTS + v * LANES, &total[r][v], scale);
    }
}

/* ---- Few rows ---- */

/* Adds the products of half h of the 16 + 16 inputs of chunk c. table: of bytes T + 128. */
TARGET EVERY_ISA void sum_half(const size_t R, const size_t P, const size_t h,
                               struct parts s[FEW_ROWS][MAX_VECS], const struct int_tile *t,
                               ivec table, size_t c) {
    UNROLLED for (size_t l = 0; l < CHUNK_LINES; l++) {
        wvec w[MAX_VECS];
        UNROLLED for (size_t v = 0; v < P * VECS; v++) w[v] =
            w_of(look_up(iv_load(t->strips[v / VECS].codes + c * CHUNK_BYTES + l * PANEL_LINE +
                                 v % VECS * VEC_BYTES),
                         table, h));
        UNROLLED for (size_t r = 0; r < R; r++) {
            const xvec x =
                load_x(t->x + r * t->stride + ((2 * c + h) * CHUNK_LINES + l) * INT_STEP_BYTES);
            UNROLLED for (size_t v = 0; v < P * VECS; v++) sum_add(&s[r][v], w[v], x);
        }
        if (l % 2 == 0 && t->prefetches)
            prefetch_lines(P, t, c * CHUNK_LINES + 2 * h + l / 2, 1);
    }
}
/* Adds the products of lines [line, line + n) of bytes. */
TARGET EVERY_ISA void sum_lines(const size_t R, const size_t P, struct parts s[FEW_ROWS][MAX_VECS],
                                const struct int_tile *t, size_t line, size_t n) {
    for (size_t l = line; l < line + n; l++) {
        wvec w[MAX_VECS];
        UNROLLED for (size_t v = 0; v < P * VECS; v++) w[v] =
            w_of(iv_load(t->strips[v / VECS].codes + l * PANEL_LINE + v % VECS * VEC_BYTES));
        UNROLLED for (size_t r = 0; r < R; r++) {
            const xvec x = load_x(t->x + r * t->stride + l * INT_STEP_BYTES);
            UNROLLED for (size_t v = 0; v < P * VECS; v++) sum_add(&s[r][v], w[v], x);
        }
        if (t->prefetches)
            prefetch_lines(P, t, l, 1);
    }
}

TARGET EVERY_ISA void few_i8(const size_t R, const size_t P, const struct int_tile *t,
                             struct total total[FEW_ROWS][MAX_VECS]) {
    enum { BLOCK_LINES = PANEL_I8_BLOCK / INT_STEP };
    for (size_t b = 0; b < t->n / PANEL_I8_BLOCK; b++) {
        struct parts s[FEW_ROWS][MAX_VECS];
        UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++)
            s[r][v] = sum_begin(spread(t->sums + r * t->stride + b * INT_SUM_BYTES));
        sum_lines(R, P, s, t, b * BLOCK_LINES, BLOCK_LINES);
        UNROLLED for (size_t v = 0; v < P * VECS; v++) {
            const ivec m =
                iv_bytes(t->strips[v / VECS].descriptors + b * PANEL_ROWS + v % VECS * LANES);
            UNROLLED for (size_t r = 0; r < R; r++) add_scaled(&total[r][v], sum_of(&s[r][v]), m);
        }
    }
}
TARGET EVERY_ISA void few_i4(const size_t R, const size_t P, const enum mat_layout layout,
                             const struct int_tile *t, struct total total[FEW_ROWS][MAX_VECS]) {
    const size_t blocks = layout == MAT_I4_16 ? 2 : 1; // of a chunk
    const ivec table = iv_table(panel_i4_table(stored_block(layout)), PANEL_I8_OFFSET);
    for (size_t c = 0; c < t->n / CHUNK; c++) {
        ivec product[FEW_ROWS][MAX_VECS], m[MAX_VECS];
        struct parts s[FEW_ROWS][MAX_VECS];
        UNROLLED for (size_t h = 0; h < 2; h++) {
            const size_t b = c * blocks + h;
            if (h < blocks)
                UNROLLED for (size_t v = 0; v < P * VECS; v++) {
                    ivec shift;
                    i4_fields(t->strips[v / VECS].descriptors + descriptors_at(layout, b) +
                                  v % VECS * LANES,
                              &m[v], &shift);
                    UNROLLED for (size_t r = 0; r < R; r++) s[r][v] =
                        sum_begin(iv_choose(t->sums + r * t->stride + b * INT_SUM_BYTES, shift));
                }
            sum_half(R, P, h, s, t, table, c);
            if (h == 0 && blocks == 2)
                UNROLLED for (size_t r = 0; r < R; r++)
                    UNROLLED for (size_t v = 0; v < P * VECS; v++) product[r][v] =
                        iv_mul(sum_of(&s[r][v]), m[v]);
        }
        UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++) {
            const ivec last = iv_mul(sum_of(&s[r][v]), m[v]);
            add_product(&total[r][v], blocks == 2 ? iv_add(product[r][v], last) : last);
        }
    }
}
/* A tile's superblock. */
TARGET EVERY_ISA void multiply_few(const size_t R, const size_t P, const enum mat_layout layout,
                                   const struct int_tile *tile) {
    const struct int_tile t = *tile; // in registers: stores to y do not change it
    struct total total[FEW_ROWS][MAX_VECS];
    UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++)
        total[r][v] = (struct total){iv_set(0), iv_set(0)};
    if (layout == MAT_I8)
        few_i8(R, P, &t, total);
    else
        few_i4(R, P, layout, &t, total);
    if (t.prefetches)
        prefetch_rest(P, &t, layout);
    add_totals(R, P, &t, total);
}

/* ---- Many rows ---- */

/* Adds the products of lines [line, line + n) of the strips. */
TARGET EVERY_ISA void sum_pairs(const size_t R, const size_t P, ivec s[ROWS][MAX_VECS],
                                const struct int_tile *t, size_t line, size_t n) {
    for (size_t i = 2 * line; i < 2 * (line + n); i++) {
        ivec w[MAX_VECS];
        UNROLLED for (size_t v = 0; v < P * VECS; v++) w[v] = iv_load(
            t->strips[v / VECS].pairs + i / 2 * PAIRS_LINE + (v % VECS * 2 + i % 2) * VEC_BYTES);
        UNROLLED for (size_t r = 0; r < R; r++) {
            const ivec x = spread(t->x + r * t->stride + i * (INT_STEP_BYTES / 2));
            UNROLLED for (size_t v = 0; v < P * VECS; v++) s[r][v] = iv_dot16(s[r][v], w[v], x);
        }
    }
}

/* A tile's superblock. */
TARGET EVERY_ISA void multiply_many(const size_t R, const size_t P, const enum mat_layout layout,
                                    const struct int_tile *tile) {
    const struct int_tile t = *tile;
    const size_t n_lines = CHUNK / INT_STEP, from_memory = layout == MAT_I8 ? n_lines : n_lines / 2;
    struct total total[ROWS][MAX_VECS];
    UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++)
        total[r][v] = (struct total){iv_set(0), iv_set(0)};
    for (size_t b = 0; b < t.n / CHUNK; b++) {
        ivec s[ROWS][MAX_VECS];
        UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++)
            s[r][v] = iv_set(0);
        sum_pairs(R, P, s, &t, b * n_lines, n_lines);
        UNROLLED for (size_t v = 0; v < P * VECS; v++) {
            const unsigned char *m =
                t.strips[v / VECS].descriptors + b * PANEL_ROWS + v % VECS * LANES;
            UNROLLED for (size_t r = 0; r < R; r++) if (layout == MAT_I8)
                add_scaled(&total[r][v], s[r][v], iv_bytes(m));
            else add_product(&total[r][v], s[r][v]);
        }
        if (t.prefetches)
            prefetch_lines(P, &t, b * from_memory, from_memory);
    }
    if (t.prefetches)
        prefetch_rest(P, &t, layout);
    add_totals(R, P, &t, total);
}

/* ---- Strips of many rows ---- */

/* Where the int16 of line l begin, for vector v of a panel. */
EVERY_ISA unsigned char *pairs_at(struct int_strip *s, size_t l, size_t v) {
    return s->pairs + l * PAIRS_LINE + v * 2 * VEC_BYTES;
}

/* Half h of a chunk of 4-bit codes, of vector v of the outputs: (table[code] - less) * factor. */
TARGET EVERY_ISA void widen_half(struct int_strip *s, size_t chunk, size_t h, size_t v, ivec table,
                                 ivec less, ivec factors) {
    UNROLLED for (size_t l = 0; l < CHUNK_LINES; l++) {
        const ivec codes = iv_load(s->codes + chunk * CHUNK_BYTES + l * PANEL_LINE + v * VEC_BYTES);
        store_pairs(pairs_at(s, (2 * chunk + h) * CHUNK_LINES + l, v),
                    iv_sub8(look_up(codes, table, h), less), factors);
    }
}
/* n lines of bytes: byte - zero. */
TARGET EVERY_ISA void widen_bytes(struct int_strip *s, size_t line, size_t n, size_t v,
                                  ivec zeros) {
    for (size_t l = line; l < line + n; l++)
        store_wide(pairs_at(s, l, v), iv_load(s->codes + l * PANEL_LINE + v * VEC_BYTES),
                   iv_mul(zeros, iv_set(65537)));
}

TARGET EVERY_ISA void widen_i4(struct int_strip *s, const enum mat_layout layout, size_t n) {
    static const uint32_t less[PANEL_I4_SHIFTS] = {0, 0xFCFCFCFC, 0xF8F8F8F8, 0xF4F4F4F4}; // -c
    const size_t blocks = layout == MAT_I4_16 ? 2 : 1; // of a chunk
    const ivec table = iv_table(panel_i4_table(stored_block(layout)), 0);
    for (size_t c = 0; c < n / CHUNK; c++)
        UNROLLED for (size_t h = 0; h < 2; h++) UNROLLED for (size_t v = 0; v < VECS; v++) {
            const size_t b = c * blocks + h * (blocks - 1);
            ivec m, shift;
            i4_fields(s->descriptors + descriptors_at(layout, b) + v * LANES, &m, &shift);
            const ivec low = iv_low16(iv_shl(m, 8));
            widen_half(s, c, h, v, table, iv_choose((const unsigned char *)less, shift),
                       iv_add(low, iv_shl(low, 16)));
        }
}

/* The superblock that begins at `super`. `ahead`: the one that is read after it. */
TARGET EVERY_ISA void strip_begin(struct int_strip *s, const enum mat_layout layout,
                                  const unsigned char *super, size_t n, const unsigned char *ahead,
                                  bool few) {
    s->descriptors = super;
    s->codes = super + panel_descriptor_bytes(n, stored_block(layout));
    s->ahead = ahead;
    if (few)
        return;
    if (layout == MAT_I8)
        for (size_t v = 0; v < VECS; v++)
            widen_bytes(s, 0, n / INT_STEP, v, iv_set(PANEL_I8_OFFSET));
    else
        widen_i4(s, layout, n);
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

/* Whether n rows of x are few. */
EVERY_ISA bool rows_are_few(const enum mat_layout layout, size_t n) {
    return n <= (layout == MAT_I8 || layout == MAT_G8 ? FEW_BYTES : FEW_HALVES);
}
/* About equal tiles of at most `most` rows: rows of the next one. */
EVERY_ISA size_t tile_rows(size_t left, size_t most) {
    const size_t tiles = (left + most - 1) / most;
    return (left + tiles - 1) / tiles;
}

/* The functions of tiles by their rows. */
struct tile_fns {
    tile_fn *few[FEW_ROWS + 1], *many[ROWS + 1];
};

/* Outputs [first, first + 16 P). What comes after a panel's last superblock is prefetched, too. */
TARGET EVERY_ISA void multiply_outputs(const enum mat_layout layout, const struct matmul_part *m,
                                       const struct tile_fns *tiles, size_t first, size_t P,
                                       size_t panel_size) {
    const size_t block = layout == MAT_I4_16 ? 16 : 32, line = layout == MAT_I8 ? 64 : 32;
    const struct int_row at = int_row_of(m->n_in);
    const bool few = rows_are_few(layout, m->n_rows);
    const size_t sums_at = layout == MAT_I4_16 ? at.sums16 : at.sums32,
                 codes_at = few && PLANES ? at.planes : 0;
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
                        last ? after : super + (s.codes - s.at) + s.n / INT_STEP * line, few);
        }
        for (size_t r = 0, R; r < m->n_rows; r += R) {
            R = tile_rows(m->n_rows - r, few ? FEW : MANY);
            const unsigned char *row = x + r * at.stride;
            (few ? tiles->few : tiles->many)[R](
                &(struct int_tile){.strips = strips,
                                   .x = row + codes_at + k / INT_STEP * INT_STEP_BYTES,
                                   .sums = row + sums_at + k / block * INT_SUM_BYTES,
                                   .scale = row + at.scales + k / PANEL_SUPER * sizeof(float),
                                   .stride = at.stride,
                                   .n = s.n,
                                   .prefetches = r == 0,
                                   .y = sums + r * OUTS});
        }
    }
    store_outputs(m, sums, first, panel_size);
}

/* A part, with tiles of each number of panels and rows. */
TARGET EVERY_ISA void multiply_part(const enum mat_layout layout, const struct matmul_part *m,
                                    const struct tile_fns tiles[PANELS + 1]) {
    const size_t panel_size =
        layout == MAT_I8 ? panel_i8_bytes(m->n_in) : panel_i4_bytes(m->n_in, stored_block(layout));
    for (size_t first = 0, P; first < m->n_out; first += P * PANEL_ROWS) {
        const size_t left = (m->n_out - first + PANEL_ROWS - 1) / PANEL_ROWS;
        P = left < PANELS ? left : PANELS;
        multiply_outputs(layout, m, &tiles[P], first, P, panel_size);
    }
}

/* A function of its own for each tile. */
#define TILE(name, few, R, P, layout)                                                              \
    TARGET __attribute__((noinline)) static void name(const struct int_tile *t) {                  \
        if (few && (R) <= FEW)                                                                     \
            multiply_few(R, P, layout, t);                                                         \
        else if (!(few) && (R) <= MANY)                                                            \
            multiply_many(R, P, layout, t);                                                        \
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
    return int_x_bytes(n_rows, n_in);
}
TARGET static void pack_x(const struct matmul_pack *p, size_t begin, size_t end) {
    const size_t stride = int_row_of(p->n_in).stride, n = p->n_rows;
    for (size_t r = begin; r < end; r++)
        int_pack_row((unsigned char *)p->to + r * stride, p->x + r * p->ldx, p->n_in, p->order,
                     !PLANES || !rows_are_few(MAT_G4, n) || !rows_are_few(MAT_G8, n),
                     PLANES && (rows_are_few(MAT_G4, n) || rows_are_few(MAT_G8, n)));
}

/* TILES(KIND, FNS, NAME, LAYOUT) defines functions of each size with KIND, and their lists
 * tiles_NAME. The including file does it for more than one panel. */
#define TILES_OF(kind, P, name, layout)                                                            \
    kind(few_1##P##_##name, true, 1, P, layout);                                                   \
    kind(few_2##P##_##name, true, 2, P, layout);                                                   \
    kind(few_3##P##_##name, true, 3, P, layout);                                                   \
    kind(many_1##P##_##name, false, 1, P, layout);                                                 \
    kind(many_2##P##_##name, false, 2, P, layout);                                                 \
    kind(many_3##P##_##name, false, 3, P, layout);                                                 \
    kind(many_4##P##_##name, false, 4, P, layout)
#define TILES_LIST(P, name)                                                                        \
    {                                                                                              \
        {NULL, few_1##P##_##name, few_2##P##_##name, few_3##P##_##name},                           \
            {NULL, many_1##P##_##name, many_2##P##_##name, many_3##P##_##name,                     \
             many_4##P##_##name},                                                                  \
    }
#if !defined(TILES)
#define TILES(kind, fns, name, layout)                                                             \
    TILES_OF(kind, 1, name, layout);                                                               \
    static const struct fns tiles_##name[PANELS + 1] = {{{NULL}, {NULL}}, TILES_LIST(1, name)}
#endif
#define INT_KERNEL(name, layout)                                                                   \
    TILES(TILE, tile_fns, name, layout);                                                           \
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
