/* The matmul kernels of MAT_G4, MAT_G8, MAT_K4 and MAT_K8, for one instruction set: rounded x
 * (matmul_int.h) with panels of codes whose groups of inputs have scales of their own.
 *
 * Included after matmul_int_tmpl.h, of which it takes tiles' sums. A superblock of 256 inputs is
 * cut into runs, which are in one group each. The sum of a run's products (code - zero) * x is an
 * exact integer, T, and so is the sum of its x, X. With the scale sx of x:
 *
 *     y += (float)T * (s * sx), then y += b * ((float)X * sx) where groups have biases b
 *
 * Each multiplication and addition is rounded to f32 by itself, run after run. So the bits depend
 * neither on the tile nor on the instruction set.
 *
 * The lines of MAT_G8 are read as they are stored; what zero points add to a sum is subtracted
 * from it, as zero * X. Those of MAT_G4 are unpacked into a strip of bytes table[code] - zero +
 * 128.
 *
 * The including file defines, besides what matmul_int_tmpl.h needs:
 *
 *     struct parts sum_zeros(const int32_t *x, ivec zeros)   begins sums with x * zeros; x: parts
 *                                                            as corrections have them
 *     fvec sum_value(const struct parts *)                   the sum, rounded to f32 once
 *     fv_load, fv_store, fv_set, fv_add, fv_mul              LANES floats
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
enum { RUN_STEP = 16, MAX_RUNS = PANEL_SUPER / RUN_STEP };

/* The runs of a superblock. */
struct group_runs {
    size_t n;
    size_t begin[MAX_RUNS + 1]; // inputs from the superblock's start; the last: where it ends
    size_t group[MAX_RUNS];
    size_t step; // 32, or 16: all begins are multiples of it
};

/* The f32 of a superblock of a panel. */
struct group_values {
    _Alignas(64) float scales[MAX_RUNS * PANEL_ROWS], biases[MAX_RUNS * PANEL_ROWS]; // [runs, 16]
};

struct group_tile {
    struct int_tile t;
    const struct group_values *values; // [P]
    const struct group_runs *runs;
    bool biased;
};
typedef void group_tile_fn(const struct group_tile *t);

/* The sums of a row's x over a run: -128 * the parts of the codes. */
EVERY_ISA void run_sums(int32_t sums[2], const unsigned char *blocks, const struct group_runs *runs,
                        size_t run) {
    const size_t bytes = int_sum_bytes(PLANES), n = bytes / sizeof *sums;
    sums[0] = sums[1] = 0;
    for (size_t b = runs->begin[run] / runs->step; b < runs->begin[run + 1] / runs->step; b++) {
        int32_t s[2];
        memcpy(s, blocks + b * bytes, bytes);
        for (size_t i = 0; i < n; i++)
            sums[i] += s[i];
    }
}

/* y [LANES] += sum * (scales * sx) */
TARGET EVERY_ISA void add_run(float *y, const struct parts *sum, const float *scales, float sx) {
    const fvec f = fv_mul(fv_load(scales), fv_set(sx));
    fv_store(y, fv_add(fv_load(y), fv_mul(sum_value(sum), f)));
}
/* y [LANES] += biases * x */
TARGET EVERY_ISA void add_biases(float *y, const float *biases, float x) {
    fv_store(y, fv_add(fv_load(y), fv_mul(fv_load(biases), fv_set(x))));
}

/* A tile's superblock. */
TARGET EVERY_ISA void multiply_runs(const size_t R, const size_t P, const enum mat_layout layout,
                                    const struct group_tile *tile) {
    const struct int_tile t = tile->t;
    const size_t S = R == 1 ? MAX_SPLIT : 1;
    float scale[ROWS];
    UNROLLED for (size_t r = 0; r < R; r++)
        memcpy(&scale[r], t.scale + r * t.stride, sizeof *scale);
    for (size_t i = 0; i < tile->runs->n; i++) {
        const size_t line = tile->runs->begin[i] / INT_STEP,
                     n_lines = tile->runs->begin[i + 1] / INT_STEP - line;
        struct parts s[ROWS][MAX_VECS];
        float biased[ROWS];
        UNROLLED for (size_t r = 0; r < R; r++) {
            int32_t sums[2];
            run_sums(sums, t.sums + r * t.stride, tile->runs, i);
            const int32_t x[2] = {sums[0] / PANEL_I8_OFFSET, sums[1] / PANEL_I8_OFFSET};
            biased[r] = (float)-(x[0] + INT_HIGH * x[1]) * scale[r];
            UNROLLED for (size_t v = 0; v < P * VECS; v++) s[r][v] =
                layout == MAT_G4
                    ? sum_begin((const unsigned char *)sums)
                    : sum_zeros(x,
                                iv_load(t.strips[v / VECS].m + i * PANEL_ROWS + v % VECS * LANES));
        }
        sum_block(R, P, S, layout == MAT_G8 ? 1 : 2, s, &t, line, n_lines);
        UNROLLED for (size_t v = 0; v < P * VECS; v++) {
            const size_t at = i * PANEL_ROWS + v % VECS * LANES;
            const struct group_values *g = &tile->values[v / VECS];
            UNROLLED for (size_t r = 0; r < R; r++) {
                float *y = t.y + r * OUTS + v * LANES;
                add_run(y, &s[r][v], g->scales + at, scale[r]);
                if (tile->biased)
                    add_biases(y, g->biases + at, biased[r]);
            }
        }
    }
}

/* ---- Strips ---- */

EVERY_ISA void runs_of(struct group_runs *runs, const struct mat_quant *q, size_t n_in, size_t k) {
    const size_t n = n_in - k < PANEL_SUPER ? n_in - k : PANEL_SUPER;
    runs->n = 0;
    runs->step = 32;
    for (size_t at = 0, end; at < n; at = end) {
        const size_t g = q->n_groups == 1 ? 0 : (k + at) / q->group,
                     next = q->n_groups == 1 ? n : (g + 1) * q->group - k;
        end = next < n ? next : n;
        runs->begin[runs->n] = at;
        runs->group[runs->n++] = g;
        runs->step = at % 32 > 0 ? RUN_STEP : runs->step;
    }
    runs->begin[runs->n] = round_up_size(n, RUN_STEP);
    if (runs->begin[runs->n] % 32 > 0)
        runs->step = RUN_STEP;
}

/* 16 values of a panel's group as f32; each times `factor`. */
TARGET EVERY_ISA void group_floats(float *to, enum dtype t, const void *from, size_t at,
                                   float factor) {
    if (t == DT_F32) {
        for (size_t i = 0; i < PANEL_ROWS; i++)
            to[i] = ((const float *)from)[at + i] * factor;
        return;
    }
    uint16_t half[PANEL_ROWS];
    memcpy(half, (const unsigned char *)from + at * sizeof *half, sizeof half);
    if (t == DT_F16)
        for (size_t i = 0; i < PANEL_ROWS; i++)
            to[i] = f32_from_f16(half[i]) * factor;
    else
        for (size_t i = 0; i < PANEL_ROWS; i++)
            to[i] = f32_from_bf16(half[i]) * factor;
}

/* The same of MAT_K4 and MAT_K8. */
TARGET EVERY_ISA void scaled_floats(struct group_values *v, const struct mat_quant *q, size_t to,
                                    size_t at, size_t super) {
    float d[PANEL_ROWS];
    group_floats(d, DT_F16, q->d, super, 1);
    for (size_t r = 0; r < PANEL_ROWS; r++)
        v->scales[to + r] = d[r] * (float)q->steps[at + r];
    if (!q->dmin)
        return;
    group_floats(d, DT_F16, q->dmin, super, 1);
    for (size_t r = 0; r < PANEL_ROWS; r++)
        v->biases[to + r] = -(d[r] * (float)q->lows[at + r]);
}

/* Scales, biases and zeros of a panel's runs in the superblock of input k. */
TARGET EVERY_ISA void group_values_of(struct group_values *v, struct int_strip *s,
                                      const struct matmul_part *m, const struct group_runs *runs,
                                      size_t panel, size_t k) {
    const struct mat_quant *q = m->quant;
    const size_t supers = (m->n_in + MAT_SUPER - 1) / MAT_SUPER;
    for (size_t i = 0; i < runs->n; i++) {
        const size_t at = (panel * q->n_groups + runs->group[i]) * MAT_PANEL, to = i * PANEL_ROWS;
        if (q->steps)
            scaled_floats(v, q, to, at, (panel * supers + k / MAT_SUPER) * MAT_PANEL);
        else
            group_floats(v->scales + to, q->scale_type, q->scales, at, q->factor);
        if (q->biases)
            group_floats(v->biases + to, q->scale_type, q->biases, at, 1);
        for (size_t r = 0; r < PANEL_ROWS; r++)
            s->m[to + r] = q->zeros ? q->zeros[at + r] : q->zero;
    }
}

/* What is added to the table's values in the 16 inputs from `at` of the superblock on. */
EVERY_ISA void group_adds(unsigned char *to, const struct group_runs *runs,
                          const struct int_strip *s, size_t at) {
    size_t i = 0;
    while (i + 1 < runs->n && runs->begin[i + 1] <= at)
        i++;
    for (size_t r = 0; r < PANEL_ROWS; r++)
        to[r] = (unsigned char)(PANEL_I8_OFFSET - s->m[i * PANEL_ROWS + r]);
}

/* n inputs of MAT_G4 whose codes begin there. */
TARGET EVERY_ISA void unpack_g4(struct int_strip *s, const struct mat_quant *q,
                                const struct group_runs *runs, const unsigned char *codes,
                                size_t n) {
    unsigned char low[PANEL_ROWS], high[PANEL_ROWS];
    s->codes = s->bytes;
    for (size_t b = 0; b * NIBBLES < n; b++) {
        group_adds(low, runs, s, b * NIBBLES);
        group_adds(high, runs, s, b * NIBBLES + RUN_STEP);
        unpack_lines(s->bytes + b * 2 * NIBBLE_BYTES, codes + b * NIBBLE_BYTES, q->table, low,
                     high);
    }
}

/* n inputs of MAT_G8. Those of an incomplete run of 16 are completed. */
EVERY_ISA void lines_g8(struct int_strip *s, const unsigned char *codes, size_t n) {
    const size_t there = round_up_size(n, INT_STEP) / INT_STEP * PANEL_LINE,
                 wanted = round_up_size(n, RUN_STEP) / INT_STEP * PANEL_LINE;
    s->codes = codes;
    if (there == wanted)
        return;
    memcpy(s->bytes, codes, there);
    memset(s->bytes + there, 0, wanted - there);
    s->codes = s->bytes;
}

/* ---- Parts ---- */

EVERY_ISA void store_sums(const struct matmul_part *m, const float *sums, size_t first) {
    const size_t left = m->n_out - first, n = left < OUTS ? left : OUTS;
    for (size_t r = 0; r < m->n_rows; r++) {
        float *y = m->y + r * m->ldy + first;
        for (size_t i = 0; i < n; i++)
            y[i] = m->bias ? sums[r * OUTS + i] + m->bias[first + i] : sums[r * OUTS + i];
    }
}

/* The superblock of input k, of P panels from `panel` of the whole matrix on. w: the first's. */
TARGET EVERY_ISA void group_strips(const enum mat_layout layout, struct int_strip *strips,
                                   struct group_values *values, const struct matmul_part *m,
                                   const struct group_runs *runs, const unsigned char *w, size_t k,
                                   size_t P) {
    const size_t size = mat_panel_bytes(layout, m->n_in), line = layout == MAT_G4 ? 32 : PANEL_LINE,
                 left = m->n_in - k, n = left < PANEL_SUPER ? left : PANEL_SUPER,
                 panel = (m->first + (size_t)(w - m->w) / size * PANEL_ROWS) / PANEL_ROWS;
    for (size_t p = 0; p < P; p++) {
        const unsigned char *codes = w + p * size + k / INT_STEP * line;
        strips[p].ahead =
            left > PANEL_SUPER ? codes + PANEL_SUPER / INT_STEP * line : w + (p + P) * size;
        group_values_of(&values[p], &strips[p], m, runs, panel + p, k);
        if (layout == MAT_G4)
            unpack_g4(&strips[p], m->quant, runs, codes, n);
        else
            lines_g8(&strips[p], codes, n);
    }
}

/* Outputs [first, first + 16 P). */
TARGET EVERY_ISA void multiply_groups(const enum mat_layout layout, const struct matmul_part *m,
                                      group_tile_fn *const *tiles, size_t first, size_t P) {
    const struct int_row at = int_row_of(m->n_in, PLANES);
    const unsigned char *x = m->x,
                        *w = m->w + first / PANEL_ROWS * mat_panel_bytes(layout, m->n_in);
    _Alignas(64) float sums[MATMUL_INT_ROWS * OUTS];
    struct int_strip strips[PANELS];
    struct group_values values[PANELS];
    struct group_runs runs;
    memset(sums, 0, m->n_rows * OUTS * sizeof *sums);
    for (size_t k = 0; k < m->n_in; k += PANEL_SUPER) {
        runs_of(&runs, m->quant, m->n_in, k);
        group_strips(layout, strips, values, m, &runs, w, k, P);
        const size_t sums_at =
            (runs.step == 32 ? at.sums32 : at.sums16) + k / runs.step * int_sum_bytes(PLANES);
        for (size_t r = 0, R; r < m->n_rows; r += R) {
            R = tile_rows(m->n_rows - r);
            const unsigned char *row = x + r * at.stride;
            tiles[R](&(struct group_tile){
                .t = {.strips = strips,
                      .x = row + k / INT_STEP * INT_STEP_BYTES,
                      .sums = row + sums_at,
                      .scale = row + at.scales + k / PANEL_SUPER * sizeof(float),
                      .stride = at.stride,
                      .y = sums + r * OUTS},
                .values = values,
                .runs = &runs,
                .biased = m->quant->biases || m->quant->dmin});
        }
    }
    store_sums(m, sums, first);
}

TARGET EVERY_ISA void multiply_group_part(const enum mat_layout layout, const struct matmul_part *m,
                                          group_tile_fn *const tiles[PANELS + 1][ROWS + 1]) {
    for (size_t first = 0, P; first < m->n_out; first += P * PANEL_ROWS) {
        const size_t left = (m->n_out - first + PANEL_ROWS - 1) / PANEL_ROWS;
        P = left < PANELS ? left : PANELS;
        multiply_groups(layout, m, tiles[P], first, P);
    }
}

/* Groups of whole steps, and panels that begin with the view. */
static bool group_takes(const struct mat *w) {
    return w->first % PANEL_ROWS == 0 &&
           (w->quant->n_groups == 1 || w->quant->group % RUN_STEP == 0);
}

#define GROUP_TILE(name, R, P, layout)                                                             \
    TARGET __attribute__((noinline)) static void name(const struct group_tile *t) {                \
        multiply_runs(R, P, layout, t);                                                            \
    }                                                                                              \
    struct int_tile
#define GROUP_KERNEL(name, layout)                                                                 \
    TARGET static void multiply_##name(const struct matmul_part *m) {                              \
        multiply_group_part(layout, m, layout == MAT_G4 ? tiles_g4 : tiles_g8);                    \
    }                                                                                              \
    struct int_tile
#define GROUP_ENTRY(name, l)                                                                       \
    {                                                                                              \
        .layout = l, .panel_rows = PANEL_ROWS, .takes = group_takes, .x_bytes = x_bytes,           \
        .n_panels = int_panels, .block_rows = int_block_rows, .pack_x = pack_x,                    \
        .multiply = multiply_##name                                                                \
    }
TILES(GROUP_TILE, group_tile_fn, g4, MAT_G4);
TILES(GROUP_TILE, group_tile_fn, g8, MAT_G8);
GROUP_KERNEL(g4, MAT_G4);
GROUP_KERNEL(g8, MAT_G8);
static const struct matmul_kernel group_kernels[] = {
    GROUP_ENTRY(g4, MAT_G4), GROUP_ENTRY(g8, MAT_G8), GROUP_ENTRY(g4, MAT_K4),
    GROUP_ENTRY(g8, MAT_K8)};
enum { N_GROUP_KERNELS = sizeof group_kernels / sizeof *group_kernels };
