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
 * Few rows read codes as they are stored, those of MAT_G4 as bytes table[code] + 128; what the
 * zero points and the 128 add to a sum is subtracted from it, as a multiple of X. Many rows share
 * strips of int16 code - zero.
 *
 * Ranges: |code - zero| <= 255, so T is at most 256 * 255 * 16256 < 2^30, and X below 2^23.
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

/* What the runs of a superblock of a panel have. */
struct group_values {
    _Alignas(64) float scales[MAX_RUNS * PANEL_ROWS], biases[MAX_RUNS * PANEL_ROWS]; // [runs, 16]
    int32_t zeros[MAX_RUNS * PANEL_ROWS];
    unsigned char end[LINES * PANEL_LINE]; // of MAT_G8: codes that end within a step
};

struct group_tile {
    struct int_tile t;
    const struct group_values *values; // [P]
    const struct group_runs *runs;
    const int8_t *table; // of MAT_G4
    bool biased;
};
typedef void group_tile_fn(const struct group_tile *t);

/* X of a row of x over a run. */
EVERY_ISA int32_t run_sum(const unsigned char *blocks, const struct group_runs *runs, size_t run) {
    int32_t x = 0;
    for (size_t b = runs->begin[run] / runs->step; b < runs->begin[run + 1] / runs->step; b++)
        x += int_sum(blocks + b * INT_SUM_BYTES);
    return x;
}

/* Adds the sums s [P * VECS] of run i to row r: y += s * (scales * sx), y += biases * (x * sx). */
TARGET EVERY_ISA void add_run(const size_t P, const struct group_tile *tile, size_t r,
                              const ivec *s, size_t i, int32_t x) {
    float sx, *y = tile->t.y + r * OUTS;
    memcpy(&sx, tile->t.scale + r * tile->t.stride, sizeof sx);
    UNROLLED for (size_t v = 0; v < P * VECS; v++) {
        const size_t at = i * PANEL_ROWS + v % VECS * LANES;
        const struct group_values *g = &tile->values[v / VECS];
        const fvec f = fv_mul(fv_load(g->scales + at), fv_set(sx));
        fvec sum = fv_add(fv_load(y + v * LANES), fv_mul(fv_of(s[v]), f));
        if (tile->biased)
            sum = fv_add(sum, fv_mul(fv_load(g->biases + at), fv_set((float)x * sx)));
        fv_store(y + v * LANES, sum);
    }
}

/* A superblock of a tile of few rows. */
TARGET EVERY_ISA void few_runs(const size_t R, const size_t P, const enum mat_layout layout,
                               const struct group_tile *tile) {
    const struct int_tile t = tile->t;
    const int32_t offset = layout == MAT_G4 ? PANEL_I8_OFFSET : 0;
    const ivec table = layout == MAT_G4 ? iv_table(tile->table, offset) : iv_set(0);
    for (size_t i = 0; i < tile->runs->n; i++) {
        const size_t begin = tile->runs->begin[i], end = tile->runs->begin[i + 1];
        struct parts s[FEW_ROWS][MAX_VECS];
        int32_t x[FEW_ROWS];
        UNROLLED for (size_t r = 0; r < R; r++) {
            x[r] = run_sum(t.sums + r * t.stride, tile->runs, i);
            UNROLLED for (size_t v = 0; v < P * VECS; v++) {
                const ivec zeros =
                    iv_load(tile->values[v / VECS].zeros + i * PANEL_ROWS + v % VECS * LANES);
                s[r][v] = sum_begin(iv_mul(iv_set(-x[r]), iv_add(zeros, iv_set(offset))));
            }
        }
        if (layout == MAT_G8)
            sum_lines(R, P, s, &t, begin / INT_STEP, (end - begin) / INT_STEP);
        for (size_t k = begin; layout == MAT_G4 && k < end; k += RUN_STEP)
            if (k % CHUNK == 0)
                sum_half(R, P, 0, s, &t, table, k / CHUNK);
            else
                sum_half(R, P, 1, s, &t, table, k / CHUNK);
        UNROLLED for (size_t r = 0; r < R; r++) {
            ivec sums[MAX_VECS];
            UNROLLED for (size_t v = 0; v < P * VECS; v++) sums[v] = sum_of(&s[r][v]);
            add_run(P, tile, r, sums, i, x[r]);
        }
    }
}

/* The same of many rows. */
TARGET EVERY_ISA void many_runs(const size_t R, const size_t P, const enum mat_layout layout,
                                const struct group_tile *tile) {
    const struct int_tile t = tile->t;
    for (size_t i = 0; i < tile->runs->n; i++) {
        const size_t line = tile->runs->begin[i] / INT_STEP,
                     n_lines = tile->runs->begin[i + 1] / INT_STEP - line,
                     share = layout == MAT_G8 ? 1 : 2;
        ivec s[ROWS][MAX_VECS];
        UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t v = 0; v < P * VECS; v++)
            s[r][v] = iv_set(0);
        sum_pairs(R, P, s, &t, line, n_lines);
        UNROLLED for (size_t r = 0; r < R; r++) {
            const int32_t x = tile->biased ? run_sum(t.sums + r * t.stride, tile->runs, i) : 0;
            add_run(P, tile, r, s[r], i, x);
        }
        if (t.prefetches)
            prefetch_lines(P, &t, line / share, n_lines / share);
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
        memcpy(to, (const float *)from + at, PANEL_ROWS * sizeof *to);
    } else if (t == DT_F16) {
        panel_f16(to, (const unsigned char *)from + at * sizeof(uint16_t));
    } else {
        uint16_t half[PANEL_ROWS];
        memcpy(half, (const unsigned char *)from + at * sizeof *half, sizeof half);
        for (size_t i = 0; i < PANEL_ROWS; i++)
            to[i] = f32_from_bf16(half[i]);
    }
    for (size_t i = 0; i < PANEL_ROWS; i++)
        to[i] *= factor;
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
TARGET EVERY_ISA void group_values_of(struct group_values *v, const struct matmul_part *m,
                                      const struct group_runs *runs, size_t panel, size_t k) {
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
            v->zeros[to + r] = q->zeros ? q->zeros[at + r] : q->zero;
    }
}

/* Lines of n inputs of MAT_G8. Those of an incomplete step are completed. */
EVERY_ISA void lines_g8(struct int_strip *s, struct group_values *values,
                        const unsigned char *codes, size_t n) {
    const size_t there = round_up_size(n, INT_STEP) / INT_STEP * PANEL_LINE,
                 wanted = round_up_size(n, RUN_STEP) / INT_STEP * PANEL_LINE;
    s->codes = codes;
    if (there == wanted)
        return;
    memcpy(values->end, codes, there);
    memset(values->end + there, 0, wanted - there);
    s->codes = values->end;
}

/* The runs as int16 for many rows. */
TARGET EVERY_ISA void widen_runs(struct int_strip *s, const enum mat_layout layout,
                                 const struct group_values *values, const struct group_runs *runs,
                                 const int8_t *of_codes) {
    const ivec table = iv_table(of_codes, 0), one = iv_set(256 << 16 | 256);
    for (size_t i = 0; i < runs->n; i++)
        for (size_t k = runs->begin[i]; k < runs->begin[i + 1]; k += RUN_STEP)
            UNROLLED for (size_t v = 0; v < VECS; v++) {
                const ivec zeros = iv_load(values->zeros + i * PANEL_ROWS + v * LANES);
                if (layout == MAT_G4)
                    widen_half(s, k / CHUNK, k / RUN_STEP % 2, v, table,
                               iv_mul(zeros, iv_set(0x01010101)), one);
                else
                    widen_bytes(s, k / INT_STEP, RUN_STEP / INT_STEP, v, zeros);
            }
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
        group_values_of(&values[p], m, runs, panel + p, k);
        strips[p].codes = codes;
        if (layout == MAT_G8)
            lines_g8(&strips[p], &values[p], codes, n);
        if (!rows_are_few(layout, m->n_rows))
            widen_runs(&strips[p], layout, &values[p], runs, m->quant->table);
    }
}

/* The functions of tiles by their rows. */
struct group_fns {
    group_tile_fn *few[FEW_ROWS + 1], *many[ROWS + 1];
};

/* Outputs [first, first + 16 P). */
TARGET EVERY_ISA void multiply_groups(const enum mat_layout layout, const struct matmul_part *m,
                                      const struct group_fns *tiles, size_t first, size_t P) {
    const struct int_row at = int_row_of(m->n_in);
    const bool few = rows_are_few(layout, m->n_rows);
    const size_t codes_at = few && PLANES ? at.planes : 0;
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
            (runs.step == 32 ? at.sums32 : at.sums16) + k / runs.step * INT_SUM_BYTES;
        for (size_t r = 0, R; r < m->n_rows; r += R) {
            R = tile_rows(m->n_rows - r, few ? FEW : MANY);
            const unsigned char *row = x + r * at.stride;
            (few ? tiles->few : tiles->many)[R](&(struct group_tile){
                .t = {.strips = strips,
                      .x = row + codes_at + k / INT_STEP * INT_STEP_BYTES,
                      .sums = row + sums_at,
                      .scale = row + at.scales + k / PANEL_SUPER * sizeof(float),
                      .stride = at.stride,
                      .prefetches = r == 0,
                      .y = sums + r * OUTS},
                .values = values,
                .runs = &runs,
                .table = m->quant->table,
                .biased = m->quant->biases || m->quant->dmin});
        }
    }
    store_sums(m, sums, first);
}

TARGET EVERY_ISA void multiply_group_part(const enum mat_layout layout, const struct matmul_part *m,
                                          const struct group_fns tiles[PANELS + 1]) {
    for (size_t first = 0, P; first < m->n_out; first += P * PANEL_ROWS) {
        const size_t left = (m->n_out - first + PANEL_ROWS - 1) / PANEL_ROWS;
        P = left < PANELS ? left : PANELS;
        multiply_groups(layout, m, &tiles[P], first, P);
    }
}

/* Groups of whole steps, and panels that begin with the view. */
static bool group_takes(const struct mat *w) {
    return w->first % PANEL_ROWS == 0 &&
           (w->quant->n_groups == 1 || w->quant->group % RUN_STEP == 0);
}

#define GROUP_TILE(name, few, R, P, layout)                                                        \
    TARGET __attribute__((noinline)) static void name(const struct group_tile *t) {                \
        if (few && (R) <= FEW)                                                                     \
            few_runs(R, P, layout, t);                                                             \
        else if (!(few) && (R) <= MANY)                                                            \
            many_runs(R, P, layout, t);                                                            \
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
TILES(GROUP_TILE, group_fns, g4, MAT_G4);
TILES(GROUP_TILE, group_fns, g8, MAT_G8);
GROUP_KERNEL(g4, MAT_G4);
GROUP_KERNEL(g8, MAT_G8);
static const struct matmul_kernel group_kernels[] = {
    GROUP_ENTRY(g4, MAT_G4), GROUP_ENTRY(g8, MAT_G8), GROUP_ENTRY(g4, MAT_K4),
    GROUP_ENTRY(g8, MAT_K8)};
enum { N_GROUP_KERNELS = sizeof group_kernels / sizeof *group_kernels };
