/* F16 and E4M3 weights with AMX's bf16 tiles, as sums of bf16. Included after matmul_amx_tmpl.h.
 *
 * x is the sum of two bf16: itself rounded, and what is left, rounded. That is 16 bits of it. An
 * F16 weight is exactly the sum of two bf16, and an E4M3 weight is exactly one:
 *
 *     F16     y = (w0 + w1) (x0 + x1) without w1 x1, which is below the rounding of x
 *     E4M3    y = the sum over groups of scale * (w0 (x0 + x1) of the group)
 *
 * Of each group of 32 k, tiles add w0 x0, then w1 x0, then w0 x1 to C, in the order of tile.h. At
 * the end of a group of inputs, y = scale * C + y in f32, one rounding, and C begins anew. F16 has
 * one group and the scale 1. So the order is the same for one row of x and for thousands.
 *
 * W is unpacked by strips of inputs, of two runs of 16 outputs, and all panels of x use the strip.
 * Where x or W is not finite, y may be NaN in place of infinity.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "kernels/vec_avx512.h"

enum {
    PARTS = 2,
    PARTS_RUNS = 2, // of 16 outputs
    PARTS_GROUPS = MATMUL_AMX_PARTS_STRIP / TILE_K,
};

/* What a thread keeps: a strip of W; sums of each panel of x. */
struct amx_parts {
    uint16_t w[PARTS_GROUPS][PARTS][PARTS_RUNS][TILE_ROWS][TILE_K];
    float c[MATMUL_AMX_PARTS_PANELS][PARTS_RUNS][TILE_ROWS][TILE_COLS]; // of the group so far
    float y[MATMUL_AMX_PARTS_PANELS][PARTS_RUNS][TILE_ROWS][TILE_COLS]; // of the groups before
};
_Static_assert(sizeof(struct amx_parts) <= MATMUL_SCRATCH, "fits a thread's scratch");

/* ---- Packing x: as matmul_amx_tmpl.h does, but each tile is followed by that of the rest ---- */

static size_t parts_x_bytes(size_t n_rows, size_t n_in) {
    size_t n = amx_x_bytes(n_rows, n_in);
    return mul_size(n, PARTS, &n) ? n : SIZE_MAX;
}

static size_t parts_block_rows(size_t n_in) {
    const size_t rows = MATMUL_AMX_PARTS_X_BYTES / (PARTS * amx_groups(n_in) * TILE_BYTES),
                 most = MATMUL_AMX_PARTS_PANELS * TILE_COLS;
    return rows < 2 * TILE_COLS ? 2 * TILE_COLS
           : rows > most        ? most
                                : rows - rows % (2 * TILE_COLS);
}

/* What bf16_from_f32(f) leaves of f, as bf16. Of a number that becomes infinite: 0. */
EVERY_ISA uint16_t bf16_rest(float f) {
    const uint16_t first = bf16_from_f32(f);
    const uint16_t rest = bf16_from_f32(f - f32_from_bf16(first));
    return (first & 0x7F80) == 0x7F80 ? 0 : rest;
}

TARGET static void pack_rest(unsigned char *to, const float *x, size_t ldx, size_t n_rows, size_t n,
                             size_t cols) {
    union amx_x_rows rows;
    memset(&rows, 0, sizeof rows);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n; k++)
            rows.half[r][k] = bf16_rest(x[r * ldx + k]);
    store_x_tile(to, &rows, cols);
}

TARGET static void parts_pack_x(const struct matmul_pack *p, size_t begin, size_t end) {
    const size_t cols = amx_panel_rows(p->n_rows), n_in = p->n_in,
                 tile = TILE_PAIRS * cols * sizeof(uint32_t);
    for (size_t i = begin; i < end; i++) {
        const size_t r = i * cols, left = p->n_rows - r, rows = left < cols ? left : cols;
        unsigned char *to = (unsigned char *)p->to + i * PARTS * amx_panel_bytes(n_in, cols);
        for (size_t k = 0; k < n_in; k += TILE_K, to += PARTS * tile) {
            const size_t n = n_in - k < TILE_K ? n_in - k : TILE_K;
            pack_tile(to, p->x + r * p->ldx + k, p->ldx, rows, n, cols);
            pack_rest(to + tile, p->x + r * p->ldx + k, p->ldx, rows, n, cols);
        }
    }
}

/* ---- Unpacking W ---- */

EVERY_ISA size_t parts_size(const enum mat_layout layout) { // of a weight, in bytes
    return layout == MAT_F16 ? 2 : 1;
}

/* The upper half of each lane. */
TARGET EVERY_ISA void store_upper(uint16_t *to, __m512i v) {
    const __m256i half = _mm512_cvtepi32_epi16(_mm512_srli_epi32(v, 16));
    _mm256_storeu_si256((__m256i *)(void *)to, half);
}

/* 16 F16 weights as two bf16 each: the first rounded, so that the second is below 2^-8 of it. */
TARGET EVERY_ISA void split_f16(uint16_t *first, uint16_t *second, const unsigned char *w) {
    const __m512 f = _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)w));
    const __m512i near = _mm512_add_epi32(_mm512_castps_si512(f), _mm512_set1_epi32(0x8000)),
                  upper = _mm512_and_si512(near, _mm512_set1_epi32((int)0xFFFF0000));
    const __m512 rest = _mm512_sub_ps(f, _mm512_castsi512_ps(upper));
    store_upper(first, upper);
    store_upper(second, _mm512_castps_si512(rest));
}

/* 32 weights as a row of a tile of each part. */
TARGET EVERY_ISA void unpack_32(const enum mat_layout layout, uint16_t *first, uint16_t *second,
                                const unsigned char *w) {
    if (layout == MAT_F16) {
        split_f16(first, second, w);
        split_f16(first + 16, second + 16, w + 32);
        return;
    }
    for (size_t k = 0; k < TILE_K; k++)
        first[k] = (uint16_t)(f32_bits(f32_from_e4m3(w[k])) >> 16);
}

/* A run of outputs, and where the thread reads on: prefetched at the same time. */
struct parts_rows {
    const unsigned char *w, *next; // next NULL: not known
    size_t stride, next_stride, n;
};

/* Inputs [k, k + n) of the rows, as run `run` of the strip. */
TARGET EVERY_ISA void unpack_rows(const enum mat_layout layout, struct amx_parts *s, size_t run,
                                  const struct parts_rows *rows, size_t n) {
    const size_t size = parts_size(layout);
    for (size_t r = 0; r < rows->n; r++) {
        const unsigned char *w = rows->w + r * rows->stride,
                            *next = rows->next ? rows->next + r * rows->next_stride : w;
        size_t g = 0;
        for (; (g + 1) * TILE_K <= n; g++) {
            __builtin_prefetch(next + g * TILE_K * size, 0, 2);
            unpack_32(layout, s->w[g][0][run][r], s->w[g][1][run][r], w + g * TILE_K * size);
        }
        if (g * TILE_K < n) {
            unsigned char tail[TILE_K * sizeof(uint16_t)] = {0};
            memcpy(tail, w + g * TILE_K * size, (n - g * TILE_K) * size);
            unpack_32(layout, s->w[g][0][run][r], s->w[g][1][run][r], tail);
        }
    }
}

/* ---- Products ---- */

/* Outputs at[0] and, if there are two runs, at[1], and the outputs from `end` on after them. */
struct parts_place {
    const struct matmul_part *m;
    size_t at[PARTS_RUNS], end, rows;
};

/* Inputs [from, to) of the strip from k on, which are in one group of inputs that begins at or
 * before `from`; with panels p and, if P = 2, p + 1. */
struct parts_span {
    size_t k, from, to, p;
    bool begins; // the group
};

TARGET EVERY_ISA void parts_sums(const enum mat_layout layout, const size_t O, const size_t P,
                                 struct amx_parts *s, const struct matmul_part *m,
                                 const struct parts_span *span) {
    const size_t cols = amx_panel_rows(m->n_rows), bytes = PARTS * amx_panel_bytes(m->n_in, cols);
    const unsigned char *x = (const unsigned char *)m->x + span->p * bytes;
    const struct amx_block b = {.x = {x, x + bytes}, .x_stride = cols * sizeof(uint32_t)};
    float(*c)[PARTS_RUNS][TILE_ROWS][TILE_COLS] = s->c + span->p;
    if (span->begins) {
        TILE_ZERO(0);
        TILE_ZERO(1);
        TILE_ZERO(2);
        TILE_ZERO(3);
    } else {
        TILE_LOAD(0, c[0][0], TILE_BYTES);
        if (P > 1)
            TILE_LOAD(1, c[1][0], TILE_BYTES);
        if (O > 1)
            TILE_LOAD(2, c[0][1], TILE_BYTES);
        if (O > 1 && P > 1)
            TILE_LOAD(3, c[1][1], TILE_BYTES);
    }
    for (size_t k = span->from; k < span->to; k += TILE_K) {
        const size_t g = (k - span->k) / TILE_K, of_x = PARTS * (k / TILE_K);
        amx_step(O, P, &b, s->w[g][0][0], s->w[g][0][1], TILE_BYTES, of_x);
        if (layout == MAT_F16)
            amx_step(O, P, &b, s->w[g][1][0], s->w[g][1][1], TILE_BYTES, of_x);
        amx_step(O, P, &b, s->w[g][0][0], s->w[g][0][1], TILE_BYTES, of_x + 1);
    }
    TILE_STORE(0, c[0][0], TILE_BYTES);
    if (P > 1)
        TILE_STORE(1, c[1][0], TILE_BYTES);
    if (O > 1)
        TILE_STORE(2, c[0][1], TILE_BYTES);
    if (O > 1 && P > 1)
        TILE_STORE(3, c[1][1], TILE_BYTES);
}

/* y = scale * c + y of a run of outputs from `first` of the whole matrix on, at the end of group g.
 */
TARGET EVERY_ISA void parts_scale(const enum mat_layout layout, float (*y)[TILE_COLS],
                                  float (*c)[TILE_COLS], const struct mat_quant *q, size_t first,
                                  size_t rows, size_t g) {
    for (size_t r = 0; r < rows; r++) {
        const float *scales = layout == MAT_F8 ? q->scales : NULL;
        const vec scale =
            vec_spread(scales ? scales[(first + r) / q->block_rows * q->n_groups + g] : 1);
        const vec before = g > 0 ? vec_load(y[r], TILE_COLS) : vec_zero();
        vec_store(y[r], vec_multiply_add(before, vec_load(c[r], TILE_COLS), scale), TILE_COLS);
    }
}

/* The strip of n inputs from k on with panels p and, if P = 2, p + 1. */
TARGET EVERY_ISA void parts_strip(const enum mat_layout layout, const size_t O, const size_t P,
                                  struct amx_parts *s, const struct parts_place *o, size_t k,
                                  size_t n, size_t p) {
    const struct matmul_part *m = o->m;
    const size_t group = layout == MAT_F8 ? m->quant->group : m->n_in;
    for (size_t from = k, to; from < k + n; from = to) {
        const size_t g = from / group, left = (g + 1) * group - from;
        to = k + n - from < left ? k + n : from + left;
        parts_sums(layout, O, P, s, m,
                   &(struct parts_span){
                       .k = k, .from = from, .to = to, .p = p, .begins = from == g * group});
        for (size_t i = 0; i < O * P && (to == m->n_in || to == (g + 1) * group); i++)
            parts_scale(layout, s->y[p + i % P][i / P], s->c[p + i % P][i / P], m->quant,
                        m->first + o->at[i / P], o->rows, g);
    }
}

/* Inputs from k on of run `run`, and what is read after the strip. */
EVERY_ISA struct parts_rows parts_rows_of(const enum mat_layout layout, const struct parts_place *o,
                                          size_t run, size_t k, size_t n) {
    const struct matmul_part *m = o->m;
    const size_t size = parts_size(layout), stride = m->n_in * size, skip = run * TILE_ROWS;
    struct parts_rows r = {.w = m->w + o->at[run] * stride + k * size,
                           .stride = stride,
                           .next_stride = stride,
                           .n = o->rows};
    if (k + n < m->n_in) {
        r.next = m->w_is_cold ? r.w + n * size : NULL;
    } else if (o->end < m->n_out) {
        r.next = m->w_is_cold ? m->w + (o->end + skip) * stride : NULL;
    } else if (m->next.n >= skip + o->rows) {
        r.next = m->next.data + skip * m->next.row_bytes;
        r.next_stride = m->next.row_bytes;
    }
    return r;
}

/* All inputs and rows of x. */
TARGET EVERY_ISA void parts_outputs(const enum mat_layout layout, const size_t O,
                                    const struct parts_place *o) {
    const struct matmul_part *m = o->m;
    struct amx_parts *s = m->scratch;
    const size_t panels = amx_n_panels(m->n_rows), cols = amx_panel_rows(m->n_rows);
    for (size_t k = 0, n; k < m->n_in; k += n) {
        n = m->n_in - k < MATMUL_AMX_PARTS_STRIP ? m->n_in - k : MATMUL_AMX_PARTS_STRIP;
        for (size_t run = 0; run < O; run++) {
            const struct parts_rows rows = parts_rows_of(layout, o, run, k, n);
            unpack_rows(layout, s, run, &rows, n);
        }
        size_t p = 0;
        for (; p + 2 <= panels; p += 2)
            parts_strip(layout, O, 2, s, o, k, n, p);
        if (p < panels)
            parts_strip(layout, O, 1, s, o, k, n, p);
    }
    for (size_t i = 0; i < O * panels; i++) {
        const size_t p = i / O, run = i % O, r = p * cols, left = m->n_rows - r;
        store_outputs(m->y + r * m->ldy + o->at[run], m->ldy, s->y[p][run],
                      m->bias ? m->bias + o->at[run] : NULL, o->rows, left < cols ? left : cols);
    }
}

/* As amx_multiply. */
TARGET EVERY_ISA void parts_multiply(const enum mat_layout layout, const struct matmul_part *m) {
    const size_t rows = m->n_out < TILE_ROWS ? m->n_out : TILE_ROWS, last = m->n_out - rows;
    struct amx_parts *s = m->scratch;
    memset(s->c, 0, amx_n_panels(m->n_rows) * sizeof *s->c); // lanes that no tile stores
    TILE_SHAPE(rows, amx_panel_rows(m->n_rows));
    for (size_t o = 0, end; o < m->n_out; o = end) {
        const size_t left = m->n_out - o;
        end = left < 2 * rows ? m->n_out : o + 2 * rows;
        const struct parts_place place = {
            .m = m,
            .at = {left < rows ? last : o, left < 2 * rows ? last : o + rows},
            .end = end,
            .rows = rows};
        if (left > rows)
            parts_outputs(layout, 2, &place);
        else
            parts_outputs(layout, 1, &place);
    }
}

TARGET static void parts_multiply_f16(const struct matmul_part *m) {
    parts_multiply(MAT_F16, m);
}
TARGET static void parts_multiply_f8(const struct matmul_part *m) {
    parts_multiply(MAT_F8, m);
}

/* Whether a group of inputs ends where a tile does. Other matrices are widened to f32. */
static bool parts_takes_f8(const struct mat *w) {
    return w->quant->group % TILE_K == 0 || w->quant->group >= w->n_in;
}

static const struct matmul_kernel amx_parts_kernels[] = {{.layout = MAT_F16,
                                                          .x_bytes = parts_x_bytes,
                                                          .n_panels = amx_n_panels,
                                                          .block_rows = parts_block_rows,
                                                          .pack_x = parts_pack_x,
                                                          .multiply = parts_multiply_f16},
                                                         {.layout = MAT_F8,
                                                          .takes = parts_takes_f8,
                                                          .x_bytes = parts_x_bytes,
                                                          .n_panels = amx_n_panels,
                                                          .block_rows = parts_block_rows,
                                                          .pack_x = parts_pack_x,
                                                          .multiply = parts_multiply_f8}};
