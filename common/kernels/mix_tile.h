/* The inner loops of attention, written once for all instruction sets (see matmul_tile.h for what tiles.c defines, and
 * besides):
 *
 *   store_x(p, v, n)   the first n floats of v
 *   spread(f) multiply(v, w)
 *   MIX_COLS           vectors of columns beside 4 to 6 rows; beside fewer rows there are 4
 *
 * c [m, cols] = c * shrink + a [m, n] b [n, cols]: rows of b, weighed by a. Both halves of attention are that: scores from
 * queries and a page of transposed keys, and outputs from probabilities and a page of values. An element of c adds
 * up n from 0 on, in one lane, whatever the tile.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */

/* R rows and C vectors of columns, the last vector `last` lanes wide. shrink NULL: c starts from zero. */
TARGET EVERY_ISA void NAME(mix_tile)(const size_t R, const size_t C, const enum wtype type, float *c, size_t ldc,
                                     const float *shrink, const float *a, size_t lda, const unsigned char *b,
                                     size_t ldb, size_t n, size_t last) {
    const size_t size = type == W_F32 ? 4 : 2;
    vec s[6][4];
    for (size_t r = 0; r < R; r++)
        for (size_t v = 0; v < C; v++)
            s[r][v] = shrink ? multiply(load_x(c + r * ldc + v * STEP, v + 1 < C ? STEP : last), spread(shrink[r]))
                             : zero();
    for (size_t i = 0; i < n; i++) {
        vec bv[4];
        for (size_t v = 0; v < C; v++)
            bv[v] = load_w(type, b + (i * ldb + v * STEP) * size, v + 1 < C ? STEP : last);
        for (size_t r = 0; r < R; r++) {
            vec av = spread(a[r * lda + i]);
            for (size_t v = 0; v < C; v++)
                s[r][v] = multiply_add(s[r][v], av, bv[v]);
        }
    }
    for (size_t r = 0; r < R; r++)
        for (size_t v = 0; v < C; v++)
            store_x(c + r * ldc + v * STEP, s[r][v], v + 1 < C ? STEP : last);
}

TARGET EVERY_ISA void NAME(mix_rows)(const size_t R, const enum wtype type, float *c, size_t ldc,
                                     const float *shrink, const float *a, size_t lda, const unsigned char *b,
                                     size_t ldb, size_t n, size_t cols) {
    const size_t size = type == W_F32 ? 4 : 2, C = R < 4 ? 4 : MIX_COLS;
    size_t j = 0;
    for (; j + C * STEP <= cols; j += C * STEP)
        NAME(mix_tile)(R, C, type, c + j, ldc, shrink, a, lda, b + j * size, ldb, n, STEP);
    for (; j + STEP <= cols; j += STEP)
        NAME(mix_tile)(R, 1, type, c + j, ldc, shrink, a, lda, b + j * size, ldb, n, STEP);
    if (j < cols)
        NAME(mix_tile)(R, 1, type, c + j, ldc, shrink, a, lda, b + j * size, ldb, n, cols - j);
}

#define MIX(name, type)                                                                                            \
    TARGET static void GLUE(name, ISA)(float *c, size_t ldc, const float *shrink, const float *a, size_t lda,      \
                                       const void *b, size_t ldb, size_t m, size_t n, size_t cols) {               \
        for (; m >= 6; m -= 6, c += 6 * ldc, a += 6 * lda, shrink += shrink ? 6 : 0)                               \
            NAME(mix_rows)(6, type, c, ldc, shrink, a, lda, b, ldb, n, cols);                                      \
        if (m == 5)                                                                                                \
            NAME(mix_rows)(5, type, c, ldc, shrink, a, lda, b, ldb, n, cols);                                      \
        else if (m == 4)                                                                                           \
            NAME(mix_rows)(4, type, c, ldc, shrink, a, lda, b, ldb, n, cols);                                      \
        else if (m == 3)                                                                                           \
            NAME(mix_rows)(3, type, c, ldc, shrink, a, lda, b, ldb, n, cols);                                      \
        else if (m == 2)                                                                                           \
            NAME(mix_rows)(2, type, c, ldc, shrink, a, lda, b, ldb, n, cols);                                      \
        else if (m == 1)                                                                                           \
            NAME(mix_rows)(1, type, c, ldc, shrink, a, lda, b, ldb, n, cols);                                      \
    }
MIX(mix_f32, W_F32)
MIX(mix_bf16, W_BF16)
#undef MIX
