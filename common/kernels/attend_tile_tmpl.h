/* The inner loops of attention, written once for all instruction sets (see matmul_tile.h for what
 * tiles.c defines, and besides):
 *
 *   store_x(p, v, n)   the first n floats of v
 *   spread(f) multiply(v, w)
 *   lower(v) upper(v)  of lanes that hold two bf16 each: the one, the other as f32
 *   MIX_COLS           vectors of columns beside 4 to 6 rows; beside fewer rows there are 4
 *
 * c [m, cols] = c * shrink + a [m, n] b [n, cols]: rows of b, weighed by a. Both halves of
 * attention are that: scores from queries and a page of transposed keys, and outputs from
 * probabilities and a page of values. b is f32, or bf16 with rows 2i and 2i + 1 side by side in
 * each lane (kernels.h): then one load brings two rows, and where the CPU multiplies pairs of bf16
 * (MULTIPLY_PAIRS: multiply_add takes a pair of a, spread_pair(p), too), a is bf16 as well. An
 * element of c adds up n from `begin` on, in one lane, whatever the tile.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */

/* Rows i (LOWER) and i + 1 (UPPER) of b, at p, with R rows of a at i; C vectors of columns, the
 * last one `last` lanes wide. f32 has LOWER alone. */
TARGET EVERY_ISA void NAME(mix_step)(const size_t R, const size_t C, const bool pairs,
                                     const int which, vec s[6][4], const unsigned char *a,
                                     size_t lda, const unsigned char *p, size_t last) {
    vec b[4];
    for (size_t v = 0; v < C; v++)
        b[v] = load_x((const float *)(const void *)(p + v * STEP * 4), v + 1 < C ? STEP : last);
#if defined(MULTIPLY_PAIRS)
    (void)pairs;
    for (size_t v = 0; v < C && which != (LOWER | UPPER); v++)
        b[v] = which == LOWER ? lower_only(b[v]) : upper(b[v]);
    for (size_t r = 0; r < R; r++) {
        vec av = spread_pair(a + r * lda * 2);
        for (size_t v = 0; v < C; v++)
            s[r][v] = multiply_add(s[r][v], av, b[v]);
    }
#else
    for (int row = LOWER; row <= UPPER; row++) {
        if (!(which & row))
            continue;
        for (size_t r = 0; r < R; r++) {
            vec av = spread(((const float *)(const void *)a)[r * lda + (row == UPPER)]);
            for (size_t v = 0; v < C; v++)
                s[r][v] = multiply_add(s[r][v], av,
                                       !pairs         ? b[v]
                                       : row == LOWER ? lower(b[v])
                                                      : upper(b[v]));
        }
    }
#endif
}

/* R rows and C vectors of columns. shrink NULL: c starts from zero. */
TARGET EVERY_ISA void NAME(mix_tile)(const size_t R, const size_t C, const bool pairs, float *c,
                                     size_t ldc, const float *shrink, const unsigned char *a,
                                     size_t lda, const unsigned char *b, size_t ldb, size_t begin,
                                     size_t end, size_t last, struct fetch *f) {
    const size_t a_size = sizeof(x_type);
    struct fetch go = *f;
    vec s[6][4];
    for (size_t r = 0; r < R; r++)
        for (size_t v = 0; v < C; v++)
            s[r][v] = shrink ? multiply(load_x(c + r * ldc + v * STEP, v + 1 < C ? STEP : last),
                                        spread(shrink[r]))
                             : zero();
    const size_t rows = pairs ? 2 : 1, a_step = rows * a_size, b_step = ldb * 4;
    a += begin / rows * a_step;
    b += begin / rows * b_step;
    if (begin % rows && begin < end) {
        NAME(mix_step)(R, C, pairs, UPPER, s, a, lda, b, last);
        begin++;
        a += a_step;
        b += b_step;
    }
    for (size_t steps = (end - begin) / rows; steps > 0; steps--, a += a_step, b += b_step) {
        fetch_step(&go);
        NAME(mix_step)(R, C, pairs, pairs ? LOWER | UPPER : LOWER, s, a, lda, b, last);
    }
    if ((end - begin) % rows)
        NAME(mix_step)(R, C, pairs, LOWER, s, a, lda, b, last);
    *f = go;
    for (size_t r = 0; r < R; r++)
        for (size_t v = 0; v < C; v++)
            store_x(c + r * ldc + v * STEP, s[r][v], v + 1 < C ? STEP : last);
}

/* R of m rows, the first of them row r. */
TARGET EVERY_ISA void NAME(mix_rows)(const size_t R, const bool pairs, float *c, size_t ldc,
                                     const float *shrink, const unsigned char *a, size_t lda,
                                     const unsigned char *b, size_t ldb, size_t r, size_t m,
                                     size_t begin, size_t end, size_t cols, struct fetch *f) {
    const size_t C = R < 4 ? 4 : MIX_COLS;
    size_t j = 0;
    c += r * ldc;
    a += r * lda * sizeof(x_type);
    shrink += shrink ? r : 0;
    fetch_at_pace(f, R, m,
                  (cols / STEP / C + cols / STEP % C + (cols % STEP > 0)) *
                      ((end - begin) / (pairs ? 2 : 1)));
#define TILE(C, last)                                                                              \
    NAME(mix_tile)(R, C, pairs, c + j, ldc, shrink, a, lda, b + j * 4, ldb, begin, end, last, f)
    for (; j + C * STEP <= cols; j += C * STEP) {
        TILE(C, STEP);
    }
    for (; j + STEP <= cols; j += STEP) {
        TILE(1, STEP);
    }
    if (j < cols) {
        TILE(1, cols - j);
    }
#undef TILE
}

#define ROWS_OF(R, pairs)                                                                          \
    case R:                                                                                        \
        NAME(mix_rows)(R, pairs, c, ldc, shrink, a, lda, b, ldb, r, m, begin, end, cols, &f);      \
        break
#define MIX(name, pairs)                                                                           \
    TARGET static void GLUE(name, ISA)(float *c, size_t ldc, const float *shrink, const void *a,   \
                                       size_t lda, const void *b, size_t ldb, size_t m,            \
                                       size_t begin, size_t end, size_t cols,                      \
                                       const unsigned char *next, size_t bytes) {                  \
        struct fetch f = fetch_bytes(next, bytes);                                                 \
        size_t tiles =                                                                             \
            (m + 5) / 6; /* of about as many rows: tiles of few rows wait for their sums */        \
        for (size_t r = 0, rows; r < m; r += rows, tiles--) {                                      \
            rows = (m - r + tiles - 1) / tiles;                                                    \
            switch (rows) {                                                                        \
                ROWS_OF(6, pairs);                                                                 \
                ROWS_OF(5, pairs);                                                                 \
                ROWS_OF(4, pairs);                                                                 \
                ROWS_OF(3, pairs);                                                                 \
                ROWS_OF(2, pairs);                                                                 \
                ROWS_OF(1, pairs);                                                                 \
            }                                                                                      \
        }                                                                                          \
    }
#if defined(MULTIPLY_PAIRS)
MIX(mix_rounded, true)
#else
MIX(mix_f32, false)
MIX(mix_pairs, true)
#endif
#undef MIX
#undef ROWS_OF
