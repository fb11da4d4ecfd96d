/* The integer layouts with AMX's int8 tiles: the bits are those of matmul_int_tmpl.h and
 * matmul_group_tmpl.h. Written once, for the CPU's tiles and for emulated ones. The including file
 * defines TARGET, a function attribute.
 *
 * Rows of x are rows of A, and lines of a panel of W are rows of B: 4 inputs of 16 outputs. The 15
 * bits of a code of x are two planes of int8, code = 256 * high + low, both signed. So a sum of
 * products has two parts or more, each exact in int32, in any order. They are put together exactly,
 * and rounded to f32 once. The few steps in f32 after that are those of the other kernels.
 *
 * This file has what the layouts share: how x is packed, and the walk over a part. All rows of a
 * block of x use a superblock of two panels before the next is unpacked. Sums of several panels are
 * in the thread's scratch, so that a superblock of x stays in L2 for all of them.
 *
 * Packed x is a run of tiles of up to 16 rows, of equal size but for the last. A tile:
 *
 *     | superblock | superblock ... | scales f32 [supers, 16] | sums int32 [inputs / 16, 16] |
 *     superblock of n inputs: | low [16, n] | high [16, n] |
 *
 * Inputs are padded with zeros to a multiple of 64. The sums are those of 16 codes each.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <string.h>

#include "base/mem.h"
#include "kernels/matmul_int.h"
#include "kernels/table.h"
#include "kernels/tile.h"
#include "kernels/vec_avx512.h"

enum {
    AMX_K = TILE_BYTES,                           // inputs of a tile of int8,
    AMX_TILE = TILE_BYTES * TILE_ROWS,            // and its bytes
    AMX_LINES = AMX_K / INT_STEP,                 // lines of W in a tile
    AMX_SUM = 16,                                 // codes of x in a sum
    AMX_PAIR = 2,                                 // panels of W that go through all rows together
    AMX_STRIP = PANEL_SUPER / AMX_SUM * AMX_TILE, // most bytes of a panel's unpacked superblock
    AMX_OUTS = MATMUL_AMX_INT_PANELS * PANEL_ROWS,
    AMX_SUMS_BYTES = MATMUL_AMX_INT_ROWS * AMX_OUTS * sizeof(float),
};
_Static_assert(AMX_SUMS_BYTES + AMX_PAIR * AMX_STRIP <= MATMUL_SCRATCH, "the scratch of a part");
_Static_assert(MATMUL_AMX_INT_ROWS % TILE_ROWS == 0, "the bytes of blocks add up");

/* ---- Packing x ---- */

/* The places in a packed tile, in bytes. */
struct amx_x {
    size_t scales, sums, bytes;
};
EVERY_ISA struct amx_x amx_x_of(size_t n_in) {
    const size_t k = panel_inputs(n_in), supers = (k + PANEL_SUPER - 1) / PANEL_SUPER;
    struct amx_x x = {.scales = 2 * k * TILE_ROWS};
    x.sums = x.scales + supers * TILE_ROWS * sizeof(float);
    x.bytes = x.sums + k / AMX_SUM * TILE_ROWS * sizeof(int32_t);
    return x;
}

static size_t amx_int_tiles(size_t n_rows) {
    return n_rows / TILE_ROWS + (n_rows % TILE_ROWS > 0);
}
/* Rows of each tile of a block; the last tile may have fewer. */
static size_t amx_int_tile_rows(size_t n_rows) {
    const size_t n = amx_int_tiles(n_rows);
    return (n_rows + n - 1) / n;
}
static size_t amx_int_x_bytes(size_t n_rows, size_t n_in) {
    size_t n;
    if (n_in > SIZE_MAX / 128 || !mul_size(amx_int_tiles(n_rows), amx_x_of(n_in).bytes, &n))
        return SIZE_MAX;
    return n;
}
static size_t amx_int_block_rows(size_t n_in) {
    (void)n_in;
    return MATMUL_AMX_INT_ROWS;
}

/* Superblock k of row r of a tile. */
TARGET EVERY_ISA void pack_super(unsigned char *tile, const struct amx_x *at, size_t r,
                                 const struct matmul_pack *p, const float *x, size_t k) {
    const size_t left = panel_inputs(p->n_in) - k, n = left < PANEL_SUPER ? left : PANEL_SUPER,
                 real = p->n_in - k < n ? p->n_in - k : n;
    int32_t codes[PANEL_SUPER];
    float ordered[PANEL_SUPER], inverse;
    for (size_t i = 0; p->order && i < real; i++)
        ordered[i] = x[p->order[k + i]];
    const float *from = p->order ? ordered : x + k, scale = int_scale(from, real, &inverse);
    int_codes(codes, from, real, inverse);
    memset(codes + real, 0, (n - real) * sizeof *codes);
    unsigned char *low = tile + 2 * k * TILE_ROWS + r * n, *high = low + n * TILE_ROWS;
    for (size_t i = 0; i < n; i++) {
        low[i] = (unsigned char)codes[i];
        high[i] = (unsigned char)((codes[i] + 128) >> 8);
    }
    memcpy(tile + at->scales + (k / PANEL_SUPER * TILE_ROWS + r) * sizeof scale, &scale,
           sizeof scale);
    for (size_t i = 0; i < n; i += AMX_SUM) {
        int32_t sum = 0;
        for (size_t c = i; c < i + AMX_SUM; c++)
            sum += codes[c];
        memcpy(tile + at->sums + ((k + i) / AMX_SUM * TILE_ROWS + r) * sizeof sum, &sum,
               sizeof sum);
    }
}

TARGET static void amx_int_pack_x(const struct matmul_pack *p, size_t begin, size_t end) {
    const struct amx_x at = amx_x_of(p->n_in);
    const size_t rows = amx_int_tile_rows(p->n_rows);
    for (size_t t = begin; t < end; t++) {
        unsigned char *tile = (unsigned char *)p->to + t * at.bytes;
        const size_t left = p->n_rows - t * rows, n = left < rows ? left : rows;
        if (n < TILE_ROWS)
            memset(tile, 0, at.bytes);
        for (size_t r = 0; r < n; r++)
            for (size_t k = 0; k < p->n_in; k += PANEL_SUPER)
                pack_super(tile, &at, r, p, p->x + (t * rows + r) * p->ldx, k);
    }
}

/* ---- A tile of x with a superblock ---- */

/* A superblock of the rows of a tile of x. */
struct amx_rows {
    const unsigned char *low, *high;
    size_t stride, n_rows; // bytes from row to row; rows that count
    const float *scales;   // [n_rows]
    const int32_t *sums;   // [inputs / 16, 16]
    float *y;              // [n_rows, AMX_OUTS]: the sums so far, of the first panel's outputs
};
EVERY_ISA struct amx_rows amx_rows_of(const struct matmul_part *m, const struct amx_x *at, size_t t,
                                      size_t k) {
    const unsigned char *tile = (const unsigned char *)m->x + t * at->bytes,
                        *low = tile + 2 * k * TILE_ROWS;
    const size_t left = panel_inputs(m->n_in) - k, n = left < PANEL_SUPER ? left : PANEL_SUPER,
                 rows = amx_int_tile_rows(m->n_rows), rows_left = m->n_rows - t * rows;
    return (struct amx_rows){
        .low = low,
        .high = low + n * TILE_ROWS,
        .stride = n,
        .n_rows = rows_left < rows ? rows_left : rows,
        .scales = (const float *)(const void *)(tile + at->scales) + k / PANEL_SUPER * TILE_ROWS,
        .sums = (const int32_t *)(const void *)(tile + at->sums) + k / AMX_SUM * TILE_ROWS,
        .y = (float *)m->scratch + t * rows * AMX_OUTS};
}

/* Four tiles of sums as they are stored. */
struct amx_sums {
    _Alignas(64) int32_t c[4][TILE_ROWS][TILE_COLS];
};

/* ---- i8 and i4 ----
 *
 * A weight without its row's scale, v = m * w or m * (T[code] + c), has 16 bits at most. It is
 * unpacked into two planes, v = 256 * high + low: high is signed, low is not. So blocks end
 * nowhere, and a superblock's sum has four parts in three tiles:
 *
 *     tile 0: low low     tile 1: low high + high low     tile 2: high high
 *
 * A strip is | low 16 lines | high 16 lines | for each 64 inputs. */

/* The layouts of quant(5): inputs of a block, bytes of 4 inputs, and bytes of a panel, which begins
 * with the scales of its rows. */
EVERY_ISA size_t amx_block(const enum mat_layout layout) {
    return layout == MAT_I4_16 ? 16 : 32;
}
EVERY_ISA size_t amx_line(const enum mat_layout layout) {
    return layout == MAT_I8 ? PANEL_LINE : PANEL_LINE / 2;
}
EVERY_ISA size_t amx_panel_size(const enum mat_layout layout, size_t n_in) {
    return panel_bytes(n_in, amx_block(layout), amx_line(layout));
}

/* The unpacked codes of 4 inputs, times the m of each row (twice, as int16) -> a line of either
 * plane. */
TARGET EVERY_ISA void fold_line(unsigned char *low, __m512i w, __m512i m) {
    const __m512i byte = _mm512_set1_epi16(255);
    const __m512i even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), m),
                  odd = _mm512_mullo_epi16(_mm512_srai_epi16(w, 8), m);
    _mm512_storeu_si512(low,
                        _mm512_or_si512(_mm512_and_si512(even, byte), _mm512_slli_epi16(odd, 8)));
    _mm512_storeu_si512(low + AMX_TILE, _mm512_or_si512(_mm512_srli_epi16(even, 8),
                                                        _mm512_andnot_si512(byte, odd)));
}

/* 16 bytes of descriptors, each in a lane of 32 bits. */
TARGET EVERY_ISA __m512i descriptor_lanes(const unsigned char *d) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)d));
}
/* The lower 16 bits of each lane, twice. */
TARGET EVERY_ISA __m512i twice_16(__m512i v) {
    return _mm512_or_si512(_mm512_and_si512(v, _mm512_set1_epi32(0xFFFF)),
                           _mm512_slli_epi32(v, 16));
}
/* m of 16 descriptors of i4, and c in each byte of their rows. */
TARGET EVERY_ISA __m512i i4_m(__m512i d) {
    const __m512i sign = _mm512_set1_epi32(32), m = _mm512_and_si512(d, _mm512_set1_epi32(63));
    return twice_16(_mm512_sub_epi32(_mm512_xor_si512(m, sign), sign));
}
TARGET EVERY_ISA __m512i i4_c(__m512i d) {
    const __m512i c = _mm512_slli_epi32(_mm512_srli_epi32(d, 6), 2);
    return twice_16(_mm512_or_si512(c, _mm512_slli_epi32(c, 8)));
}

/* Where line l of a strip's low plane is. */
EVERY_ISA unsigned char *folded_line(unsigned char *strip, size_t l) {
    return strip + l / AMX_LINES * 2 * AMX_TILE + l % AMX_LINES * PANEL_LINE;
}

/* 32 inputs of i8 from line l on. */
TARGET EVERY_ISA void fold_i8(unsigned char *strip, size_t l, const unsigned char *codes,
                              const unsigned char *descriptors, const unsigned char *ahead) {
    const __m512i m = twice_16(descriptor_lanes(descriptors)), offset = _mm512_set1_epi8(-128);
    for (size_t i = 0; i < PANEL_I8_BLOCK / INT_STEP; i++) {
        __builtin_prefetch(ahead + i * PANEL_LINE, 0, 3);
        fold_line(folded_line(strip, l + i),
                  _mm512_xor_si512(_mm512_loadu_si512(codes + i * PANEL_LINE), offset), m);
    }
}

/* 32 inputs of i4. low, high: descriptors of the first and the last 16. */
TARGET EVERY_ISA void fold_i4(unsigned char *strip, size_t l, const unsigned char *codes,
                              __m512i table, __m512i low, __m512i high,
                              const unsigned char *ahead) {
    const __m512i nibble = _mm512_set1_epi8(15), m_low = i4_m(low), m_high = i4_m(high),
                  c_low = i4_c(low), c_high = i4_c(high);
    for (size_t i = 0; i < 4; i++) {
        __builtin_prefetch(ahead + i * PANEL_LINE, 0, 3);
        const __m512i v = _mm512_loadu_si512(codes + i * PANEL_LINE),
                      first = _mm512_and_si512(v, nibble),
                      last = _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble);
        fold_line(folded_line(strip, l + i),
                  _mm512_add_epi8(_mm512_shuffle_epi8(table, first), c_low), m_low);
        fold_line(folded_line(strip, l + 4 + i),
                  _mm512_add_epi8(_mm512_shuffle_epi8(table, last), c_high), m_high);
    }
}

TARGET EVERY_ISA __m512i table_16(const int8_t *table) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)table));
}

/* The superblock at `super`. `ahead`: what is unpacked next. */
TARGET EVERY_ISA void fold_super(const enum mat_layout layout, unsigned char *strip,
                                 const unsigned char *super, size_t n, const unsigned char *ahead) {
    const size_t block = amx_block(layout), line = amx_line(layout),
                 head = panel_descriptor_bytes(n, block);
    const __m512i table = table_16(panel_i4_table(block));
    for (size_t k = 0; k < n; k += 32) {
        const size_t codes = head + k / INT_STEP * line;
        const unsigned char *d = super + k / block * PANEL_ROWS;
        __builtin_prefetch(ahead + k, 0, 3); // its descriptors
        if (layout == MAT_I8)
            fold_i8(strip, k / INT_STEP, super + codes, d, ahead + codes);
        else
            fold_i4(strip, k / INT_STEP, super + codes, table, descriptor_lanes(d),
                    descriptor_lanes(layout == MAT_I4_16 ? d + PANEL_ROWS : d), ahead + codes);
    }
}

/* y += (float)(65536 hh + 256 middle + ll) * scale. The sum has up to 38 bits; its upper and its
 * lower part have at most 24, so only their addition rounds:
 *
 *     |ll| <= 256 * 128 * 255 < 2^23;  |256 hh + middle| < 2^30;  lower: < 2^23 + 2^22 */
TARGET EVERY_ISA void add_folded(float *y, const struct amx_sums *s, size_t r, float scale) {
    const __m512i ll = _mm512_loadu_si512(s->c[0][r]), middle = _mm512_loadu_si512(s->c[1][r]),
                  hh = _mm512_loadu_si512(s->c[2][r]),
                  high = _mm512_add_epi32(_mm512_slli_epi32(hh, 8), middle),
                  rest = _mm512_and_si512(high, _mm512_set1_epi32(0x3FFF)),
                  lower = _mm512_add_epi32(_mm512_slli_epi32(rest, 8), ll);
    const vec upper = _mm512_cvtepi32_ps(_mm512_srai_epi32(high, 14)),
              sum = _mm512_fmadd_ps(upper, vec_spread(0x1p22f), _mm512_cvtepi32_ps(lower));
    _mm512_storeu_ps(y, _mm512_add_ps(_mm512_loadu_ps(y), _mm512_mul_ps(sum, vec_spread(scale))));
}

TARGET EVERY_ISA void folded_tile(const struct amx_rows *x, const unsigned char *strip) {
    struct amx_sums s;
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    for (size_t k = 0; k < x->stride; k += AMX_K, strip += 2 * AMX_TILE) {
        TILE_LOAD(4, x->low + k, x->stride);
        TILE_LOAD(6, strip, TILE_BYTES);
        TILE_DP_SU(0, 4, 6);
        TILE_LOAD(7, strip + AMX_TILE, TILE_BYTES);
        TILE_DP_SS(1, 4, 7);
        TILE_LOAD(5, x->high + k, x->stride);
        TILE_DP_SU(1, 5, 6);
        TILE_DP_SS(2, 5, 7);
    }
    TILE_STORE(0, s.c[0], TILE_BYTES);
    TILE_STORE(1, s.c[1], TILE_BYTES);
    TILE_STORE(2, s.c[2], TILE_BYTES);
    for (size_t r = 0; r < x->n_rows; r++)
        add_folded(x->y + r * AMX_OUTS, &s, r, x->scales[r]);
}

/* ---- The walk over a part ---- */

/* P panels from `panel` of the part on, and the superblock of input k. */
struct amx_place {
    size_t panel, P, k;
};
/* Panels [first, end) share a pass over the superblocks. The place after p; after the last one the
 * first superblock of the panels after `end`. */
EVERY_ISA struct amx_place amx_after(struct amx_place p, size_t first, size_t end, size_t n_in) {
    p.panel += p.P;
    if (p.panel >= end && p.k + PANEL_SUPER < n_in) {
        p.panel = first;
        p.k += PANEL_SUPER;
    } else if (p.panel >= end) {
        p.k = 0;
    }
    return p;
}

/* y [n_rows, n] of outputs from `first` on = the sums, times scales where there are any, and the
 * bias. */
TARGET EVERY_ISA void amx_int_outputs(const struct matmul_part *m, size_t first, const float *sums,
                                      const float *scales) {
    const size_t left = m->n_out - first, n = left < PANEL_ROWS ? left : PANEL_ROWS;
    const vec s = scales ? _mm512_loadu_ps(scales) : vec_zero(),
              bias = m->bias ? vec_load(m->bias + first, n) : vec_zero();
    for (size_t r = 0; r < m->n_rows; r++) {
        vec y = _mm512_loadu_ps(sums + r * AMX_OUTS);
        y = scales ? _mm512_mul_ps(y, s) : y;
        vec_store(m->y + r * m->ldy + first, m->bias ? _mm512_add_ps(y, bias) : y, n);
    }
}

#include "kernels/matmul_group_amx_tmpl.h"

/* A superblock of P panels with all rows. */
TARGET EVERY_ISA void amx_int_super(const enum mat_layout layout, const struct matmul_part *m,
                                    struct amx_place p, struct amx_place next, size_t first) {
    const struct amx_x at = amx_x_of(m->n_in);
    unsigned char *strips = (unsigned char *)m->scratch + AMX_SUMS_BYTES;
    const size_t block = amx_block(layout), line = amx_line(layout),
                 size = amx_panel_size(layout, m->n_in), tiles = amx_int_tiles(m->n_rows);
    const struct panel_super s = panel_super_of(p.k, m->n_in, block, line);
    const size_t ahead = panel_super_of(next.k, m->n_in, block, line).at;
    for (size_t i = 0; i < p.P; i++)
        fold_super(layout, strips + i * AMX_STRIP, m->w + (p.panel + i) * size + s.at, s.n,
                   m->w + (next.panel + i) * size + ahead);
    for (size_t t = 0; t < tiles; t++) {
        struct amx_rows x = amx_rows_of(m, &at, t, p.k);
        x.y += (p.panel - first) * PANEL_ROWS;
        for (size_t i = 0; i < p.P; i++, x.y += PANEL_ROWS)
            folded_tile(&x, strips + i * AMX_STRIP);
    }
}

/* Panels [first, end) of a part. */
TARGET EVERY_ISA void amx_int_panels(const enum mat_layout layout, const struct matmul_part *m,
                                     size_t first, size_t end) {
    const bool grouped = amx_is_grouped(layout);
    float *sums = m->scratch;
    for (size_t r = 0; r < m->n_rows; r++)
        memset(sums + r * AMX_OUTS, 0, (end - first) * PANEL_ROWS * sizeof *sums);
    struct amx_place p = {.panel = first}, next;
    for (size_t n = (m->n_in + PANEL_SUPER - 1) / PANEL_SUPER * ((end - first + 1) / AMX_PAIR);
         n > 0; n--, p = next) {
        p.P = end - p.panel < AMX_PAIR ? end - p.panel : AMX_PAIR;
        next = amx_after(p, first, end, m->n_in);
        if (grouped)
            amx_group_super(layout, m, p, next, first);
        else
            amx_int_super(layout, m, p, next, first);
    }
    for (size_t i = first; i < end; i++) {
        float scales[PANEL_ROWS];
        if (!grouped)
            memcpy(scales, m->w + i * amx_panel_size(layout, m->n_in), sizeof scales);
        amx_int_outputs(m, i * PANEL_ROWS, sums + (i - first) * PANEL_ROWS,
                        grouped ? NULL : scales);
    }
}

/* Few rows read W as two streams; with many, x is read for several panels at a time. */
TARGET EVERY_ISA void amx_int_part(const enum mat_layout layout, const struct matmul_part *m) {
    const size_t panels = (m->n_out + PANEL_ROWS - 1) / PANEL_ROWS,
                 most = m->n_rows <= 2 * TILE_ROWS ? AMX_PAIR : MATMUL_AMX_INT_PANELS;
    TILE_SHAPE(amx_int_tile_rows(m->n_rows), TILE_COLS);
    for (size_t first = 0, end; first < panels; first = end) {
        end = panels - first < most ? panels : first + most;
        amx_int_panels(layout, m, first, end);
    }
}

/* ---- The kernels of all layouts ---- */

#define AMX_INT_KERNEL(name, layout)                                                               \
    TARGET static void amx_multiply_##name(const struct matmul_part *m) {                          \
        amx_int_part(layout, m);                                                                   \
    }                                                                                              \
    struct amx_x
#define AMX_INT_ENTRY(name, l, takes_, least)                                                      \
    {                                                                                              \
        .layout = l, .panel_rows = PANEL_ROWS, .least_rows = least, .takes = takes_,               \
        .x_bytes = amx_int_x_bytes, .n_panels = amx_int_tiles, .block_rows = amx_int_block_rows,   \
        .pack_x = amx_int_pack_x, .multiply = amx_multiply_##name                                  \
    }
AMX_INT_KERNEL(i8, MAT_I8);
AMX_INT_KERNEL(i4_32, MAT_I4_32);
AMX_INT_KERNEL(i4_16, MAT_I4_16);
AMX_INT_KERNEL(g4, MAT_G4);
AMX_INT_KERNEL(g8, MAT_G8);
static const struct matmul_kernel amx_int_kernels[] = {
    AMX_INT_ENTRY(i8, MAT_I8, NULL, MATMUL_AMX_FOLD_LEAST),
    AMX_INT_ENTRY(i4_32, MAT_I4_32, NULL, MATMUL_AMX_FOLD_LEAST),
    AMX_INT_ENTRY(i4_16, MAT_I4_16, NULL, MATMUL_AMX_FOLD_LEAST),
    AMX_INT_ENTRY(g4, MAT_G4, amx_group_takes, MATMUL_AMX_GROUP_LEAST),
    AMX_INT_ENTRY(g8, MAT_G8, amx_group_takes, MATMUL_AMX_GROUP_LEAST),
    AMX_INT_ENTRY(g4, MAT_K4, amx_group_takes, MATMUL_AMX_GROUP_LEAST),
    AMX_INT_ENTRY(g8, MAT_K8, amx_group_takes, MATMUL_AMX_GROUP_LEAST)};
enum { N_AMX_INT_KERNELS = sizeof amx_int_kernels / sizeof *amx_int_kernels };
