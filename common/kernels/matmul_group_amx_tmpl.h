/* MAT_G4, MAT_G8, MAT_K4 and MAT_K8 with AMX's int8 tiles. Included by matmul_int_amx_tmpl.h, of
 * which it takes x and the walk; matmul_group_tmpl.h says what is computed.
 *
 * A code without its zero point is an int8, or a code is a byte without a sign, whose zero point
 * times the sum of x is subtracted afterwards. So a run's sum has two parts, of the planes of x:
 * tiles 0 and 1 of the first panel, 2 and 3 of the second. Put together they fit an int32:
 * 256 inputs, of at most 255 * 16256 each.
 *
 * A run begins with a tile of its own. One that is no multiple of 64 inputs is followed by lines of
 * zeros, to which whatever x has there adds nothing. 8-bit codes of whole tiles are read where they
 * are; others are copied.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
enum { AMX_RUN = 16, AMX_RUNS = PANEL_SUPER / AMX_RUN }; // inputs: runs are multiples of it

EVERY_ISA bool amx_is_grouped(const enum mat_layout layout) {
    return layout == MAT_G4 || layout == MAT_G8;
}
/* Groups of whole steps, and panels that begin with the view. */
static bool amx_group_takes(const struct mat *w) {
    return w->first % PANEL_ROWS == 0 &&
           (w->quant->n_groups == 1 || w->quant->group % AMX_RUN == 0);
}

/* ---- Runs ---- */

/* The runs of a superblock. */
struct amx_runs {
    size_t n, begin[AMX_RUNS + 1]; // inputs from the superblock's start; the last: where it ends
    size_t group[AMX_RUNS], tile[AMX_RUNS + 1]; // of a run: its group, and its first tile
    bool whole;                                 // all tiles are full
};
EVERY_ISA void amx_runs_of(struct amx_runs *r, const struct matmul_part *m, size_t k) {
    const struct mat_quant *q = m->quant;
    const size_t n = m->n_in - k < PANEL_SUPER ? m->n_in - k : PANEL_SUPER,
                 end = round_up_size(n, AMX_RUN);
    *r = (struct amx_runs){.whole = n % AMX_K == 0};
    for (size_t i = 0; r->begin[i] < end; i = r->n) {
        const size_t group = q->n_groups == 1 ? 0 : (k + r->begin[i]) / q->group,
                     border = q->n_groups == 1 ? end : (group + 1) * q->group - k,
                     next = border < end ? border : end, inputs = next - r->begin[i];
        r->group[i] = group;
        r->begin[i + 1] = next;
        r->tile[i + 1] = r->tile[i] + (inputs + AMX_K - 1) / AMX_K;
        r->whole = r->whole && inputs % AMX_K == 0;
        r->n++;
    }
}

/* A panel's superblock: lines of codes as tiles, and what its runs have: [runs, 16]. */
struct amx_strip {
    const unsigned char *tiles;
    _Alignas(64) float scales[AMX_RUNS * PANEL_ROWS], biases[AMX_RUNS * PANEL_ROWS];
    int32_t zeros[AMX_RUNS * PANEL_ROWS];
};

/* 16 values of type t from the at-th on. */
TARGET EVERY_ISA vec amx_floats(enum dtype t, const void *from, size_t at) {
    const unsigned char *p = (const unsigned char *)from + at * (t == DT_F32 ? 4 : 2);
    if (t == DT_F32)
        return _mm512_loadu_ps((const float *)(const void *)p);
    const __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
    return t == DT_F16 ? _mm512_cvtph_ps(half)
                       : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
TARGET EVERY_ISA __m512i amx_bytes(const void *from, size_t at, bool is_signed) {
    const __m128i b =
        _mm_loadu_si128((const __m128i *)(const void *)((const unsigned char *)from + at));
    return is_signed ? _mm512_cvtepi8_epi32(b) : _mm512_cvtepu8_epi32(b);
}

/* Of panel `panel` of the whole matrix and the superblock of input k: struct mat_quant. */
TARGET EVERY_ISA void amx_values(struct amx_strip *s, const struct mat_quant *q, size_t n_in,
                                 const struct amx_runs *r, size_t panel, size_t k) {
    const size_t supers = (n_in + MAT_SUPER - 1) / MAT_SUPER,
                 super = (panel * supers + k / MAT_SUPER) * MAT_PANEL;
    for (size_t i = 0; i < r->n; i++) {
        const size_t at = (panel * q->n_groups + r->group[i]) * MAT_PANEL;
        float *scales = s->scales + i * PANEL_ROWS, *biases = s->biases + i * PANEL_ROWS;
        if (q->steps)
            _mm512_storeu_ps(scales,
                             _mm512_mul_ps(amx_floats(DT_F16, q->d, super),
                                           _mm512_cvtepi32_ps(amx_bytes(q->steps, at, true))));
        else
            _mm512_storeu_ps(scales, _mm512_mul_ps(amx_floats(q->scale_type, q->scales, at),
                                                   vec_spread(q->factor)));
        if (q->dmin)
            _mm512_storeu_ps(
                biases,
                _mm512_mul_ps(_mm512_mul_ps(amx_floats(DT_F16, q->dmin, super),
                                            _mm512_cvtepi32_ps(amx_bytes(q->lows, at, false))),
                              vec_spread(-1)));
        if (q->biases)
            _mm512_storeu_ps(biases, amx_floats(q->scale_type, q->biases, at));
        _mm512_storeu_si512(s->zeros + i * PANEL_ROWS,
                            q->zeros ? amx_bytes(q->zeros, at, false) : _mm512_set1_epi32(q->zero));
    }
}

/* ---- Strips ---- */

/* Zeros from line n of a tile on. */
EVERY_ISA void pad_tiles(unsigned char *tiles, size_t n) {
    if (n % AMX_LINES > 0)
        memset(tiles + n * PANEL_LINE, 0, (AMX_LINES - n % AMX_LINES) * PANEL_LINE);
}

/* 16 inputs from `at` of the superblock on: table[code] - zero. */
TARGET EVERY_ISA void unpack_16(unsigned char *to, const unsigned char *codes, size_t at,
                                __m512i table, __m512i zeros) {
    const __m512i nibble = _mm512_set1_epi8(15);
    const unsigned char *from = codes + at / 32 * 4 * PANEL_LINE;
    for (size_t i = 0; i < AMX_SUM / INT_STEP; i++) {
        const __m512i v = _mm512_loadu_si512(from + i * PANEL_LINE),
                      code = _mm512_and_si512(at % 32 ? _mm512_srli_epi16(v, 4) : v, nibble);
        _mm512_storeu_si512(to + i * PANEL_LINE,
                            _mm512_sub_epi8(_mm512_shuffle_epi8(table, code), zeros));
    }
}

TARGET EVERY_ISA void strip_g4(struct amx_strip *s, unsigned char *to, const int8_t *table,
                               const struct amx_runs *r, const unsigned char *codes,
                               const unsigned char *ahead) {
    const __m512i t = table_16(table), byte = _mm512_set1_epi32(255);
    s->tiles = to;
    for (size_t i = 0; i < r->n; i++) {
        const size_t begin = r->begin[i], end = r->begin[i + 1];
        unsigned char *tiles = to + r->tile[i] * AMX_TILE;
        __m512i z = _mm512_and_si512(_mm512_loadu_si512(s->zeros + i * PANEL_ROWS), byte);
        z = _mm512_or_si512(z, _mm512_slli_epi32(z, 8));
        z = _mm512_or_si512(z, _mm512_slli_epi32(z, 16));
        for (size_t at = begin; at < end; at += AMX_SUM) {
            __builtin_prefetch(ahead + at * 8, 0, 3); // half a byte for each of 16 rows
            __builtin_prefetch(ahead + at * 8 + PANEL_LINE, 0, 3);
            unpack_16(tiles + (at - begin) / INT_STEP * PANEL_LINE, codes, at, t, z);
        }
        pad_tiles(tiles, (end - begin) / INT_STEP);
    }
}

/* n: inputs that are there. */
TARGET EVERY_ISA void strip_g8(struct amx_strip *s, unsigned char *to, const struct amx_runs *r,
                               const unsigned char *codes, size_t n, const unsigned char *ahead) {
    for (size_t l = 0; l * INT_STEP < n; l++)
        __builtin_prefetch(ahead + l * PANEL_LINE, 0, 3);
    s->tiles = r->whole ? codes : to;
    for (size_t i = 0; i < r->n && !r->whole; i++) {
        const size_t begin = r->begin[i], next = r->begin[i + 1], end = next < n ? next : n,
                     lines = (end - begin + INT_STEP - 1) / INT_STEP;
        unsigned char *tiles = to + r->tile[i] * AMX_TILE;
        memcpy(tiles, codes + begin / INT_STEP * PANEL_LINE, lines * PANEL_LINE);
        pad_tiles(tiles, lines);
    }
}

/* ---- Tiles ---- */

/* T of a row: its parts put together. zeros: [16], times the sum x of the row's codes; or NULL. */
TARGET EVERY_ISA __m512i group_sum(const int32_t *low, const int32_t *high, const int32_t *zeros,
                                   int32_t x) {
    const __m512i t =
        _mm512_add_epi32(_mm512_slli_epi32(_mm512_loadu_si512(high), 8), _mm512_loadu_si512(low));
    return zeros ? _mm512_sub_epi32(
                       t, _mm512_mullo_epi32(_mm512_loadu_si512(zeros), _mm512_set1_epi32(x)))
                 : t;
}
/* y += (float)T * (s * sx), then y += b * ((float)x * sx) */
TARGET EVERY_ISA void add_group(float *y, const struct amx_strip *s, size_t run, __m512i t,
                                bool biased, int32_t x, float sx) {
    const vec scale = _mm512_mul_ps(_mm512_loadu_ps(s->scales + run * PANEL_ROWS), vec_spread(sx));
    vec sum = _mm512_add_ps(_mm512_loadu_ps(y), _mm512_mul_ps(_mm512_cvtepi32_ps(t), scale));
    if (biased)
        sum = _mm512_add_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(s->biases + run * PANEL_ROWS),
                                               vec_spread((float)x * sx)));
    _mm512_storeu_ps(y, sum);
}

/* The sums of 16 rows of x over a run. */
TARGET EVERY_ISA void amx_run_sums(int32_t *to, const struct amx_rows *x, size_t begin,
                                   size_t end) {
    __m512i sum = _mm512_setzero_si512();
    for (size_t b = begin / AMX_SUM; b < end / AMX_SUM; b++)
        sum = _mm512_add_epi32(sum, _mm512_loadu_si512(x->sums + b * TILE_ROWS));
    _mm512_storeu_si512(to, sum);
}

/* Run i of a tile of x with P panels. */
TARGET EVERY_ISA void amx_group_run(const enum mat_layout layout, const size_t P,
                                    const struct amx_rows *x, const struct amx_strip *strips,
                                    const struct amx_runs *r, size_t i, bool biased) {
    struct amx_sums s;
    _Alignas(64) int32_t sum_x[TILE_ROWS];
    const size_t begin = r->begin[i], end = r->begin[i + 1];
    const unsigned char *w[AMX_PAIR] = {strips[0].tiles + r->tile[i] * AMX_TILE,
                                        strips[P - 1].tiles + r->tile[i] * AMX_TILE};
    TILE_ZERO(0);
    TILE_ZERO(1);
    TILE_ZERO(2);
    TILE_ZERO(3);
    for (size_t k = begin; k < end; k += AMX_K, w[0] += AMX_TILE, w[1] += AMX_TILE) {
        TILE_LOAD(4, x->low + k, x->stride);
        TILE_LOAD(5, x->high + k, x->stride);
        TILE_LOAD(6, w[0], TILE_BYTES);
        if (P > 1)
            TILE_LOAD(7, w[1], TILE_BYTES);
        if (layout == MAT_G4) {
            TILE_DP_SS(0, 4, 6);
            TILE_DP_SS(1, 5, 6);
        } else {
            TILE_DP_SU(0, 4, 6);
            TILE_DP_SU(1, 5, 6);
        }
        if (P > 1 && layout == MAT_G4) {
            TILE_DP_SS(2, 4, 7);
            TILE_DP_SS(3, 5, 7);
        } else if (P > 1) {
            TILE_DP_SU(2, 4, 7);
            TILE_DP_SU(3, 5, 7);
        }
    }
    TILE_STORE(0, s.c[0], TILE_BYTES);
    TILE_STORE(1, s.c[1], TILE_BYTES);
    if (P > 1) {
        TILE_STORE(2, s.c[2], TILE_BYTES);
        TILE_STORE(3, s.c[3], TILE_BYTES);
    }
    amx_run_sums(sum_x, x, begin, end);
    for (size_t row = 0; row < x->n_rows; row++)
        for (size_t p = 0; p < P; p++) {
            const int32_t *zeros = layout == MAT_G8 ? strips[p].zeros + i * PANEL_ROWS : NULL;
            const __m512i t = group_sum(s.c[2 * p][row], s.c[2 * p + 1][row], zeros, sum_x[row]);
            add_group(x->y + row * AMX_OUTS + p * PANEL_ROWS, &strips[p], i, t, biased, sum_x[row],
                      x->scales[row]);
        }
}

/* The superblock of input k, of P panels. */
TARGET EVERY_ISA void amx_group_strips(const enum mat_layout layout, struct amx_strip *strips,
                                       const struct matmul_part *m, const struct amx_runs *r,
                                       struct amx_place p, struct amx_place next) {
    const size_t size = mat_panel_bytes(layout, m->n_in), line = layout == MAT_G4 ? 32 : PANEL_LINE,
                 left = m->n_in - p.k, n = left < PANEL_SUPER ? left : PANEL_SUPER;
    unsigned char *to = (unsigned char *)m->scratch + AMX_SUMS_BYTES;
    for (size_t i = 0; i < p.P; i++) {
        const unsigned char *codes = m->w + (p.panel + i) * size + p.k / INT_STEP * line,
                            *ahead = m->w + (next.panel + i) * size + next.k / INT_STEP * line;
        amx_values(&strips[i], m->quant, m->n_in, r, m->first / PANEL_ROWS + p.panel + i, p.k);
        if (layout == MAT_G4)
            strip_g4(&strips[i], to + i * AMX_STRIP, m->quant->table, r, codes, ahead);
        else
            strip_g8(&strips[i], to + i * AMX_STRIP, r, codes, n, ahead);
    }
}

TARGET EVERY_ISA void amx_group_super(const enum mat_layout layout, const struct matmul_part *m,
                                      struct amx_place p, struct amx_place next, size_t first) {
    const struct amx_x at = amx_x_of(m->n_in);
    const bool biased = m->quant->biases || m->quant->dmin;
    struct amx_strip strips[AMX_PAIR];
    struct amx_runs r;
    amx_runs_of(&r, m, p.k);
    amx_group_strips(layout, strips, m, &r, p, next);
    for (size_t t = 0; t < amx_int_tiles(m->n_rows); t++) {
        struct amx_rows x = amx_rows_of(m, &at, t, p.k);
        x.y += (p.panel - first) * PANEL_ROWS;
        for (size_t i = 0; i < r.n; i++)
            if (p.P > 1)
                amx_group_run(layout, 2, &x, strips, &r, i, biased);
            else
                amx_group_run(layout, 1, &x, strips, &r, i, biased);
    }
}
