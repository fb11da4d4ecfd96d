/* The inner loops of attention, written once: each attention_ISA.c includes this after it has
 * defined
 *
 *   TARGET, vec, STEP   as for matmul_tmpl.h; STEP is the lanes of vec
 *   vec_load(p, n), vec_store(p, v, n)   the first n lanes
 *   vec_zero(), vec_spread(f), vec_multiply(a, b)
 *   COLS                vectors of columns beside 4 to 6 rows; beside fewer rows there are 4
 *   A_BYTES             of an element of a
 *   sum_step(R, C, pairs, which, last, s, a, lda, b)   adds to s [R, C] one row of b, or two
 *
 * c [m, cols] = c * rescale + a [m, n] b [n, cols]: rows of b, weighted by a. Both halves of
 * attention are that: scores from queries and a page of transposed keys, and outputs from
 * probabilities and a page of values. b is f32, or bf16 with rows 2i and 2i + 1 side by side in
 * each lane (kernels.h), so that one load brings two rows. An element of c adds up n from `begin`
 * on, in one lane, whatever the tile.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */

/* R rows and C vectors of columns, the last one `last` lanes wide, at row r and column j. */
TARGET EVERY_ISA void sum_tile(const size_t R, const size_t C, const bool pairs,
                               const struct attn_weighted_sum *w, size_t r, size_t j, size_t last,
                               struct prefetch *f) {
    const size_t rows = pairs ? 2 : 1, a_step = rows * A_BYTES, b_step = w->ldb * 4, lda = w->lda,
                 ldc = w->ldc;
    const unsigned char *a = (const unsigned char *)w->a + r * lda * A_BYTES;
    const unsigned char *b = (const unsigned char *)w->b + j * 4;
    const float *rescale = w->rescale ? w->rescale + r : NULL;
    float *c = w->c + r * ldc + j;
    size_t begin = w->begin;
    const size_t end = w->end;
    struct prefetch go = *f;
    vec s[6][4];
    for (size_t i = 0; i < R; i++)
        for (size_t v = 0; v < C; v++)
            s[i][v] = rescale
                          ? vec_multiply(vec_load(c + i * ldc + v * STEP, v + 1 < C ? STEP : last),
                                         vec_spread(rescale[i]))
                          : vec_zero();
    a += begin / rows * a_step;
    b += begin / rows * b_step;
    if (begin % rows && begin < end) {
        sum_step(R, C, pairs, UPPER, last, s, (struct sum_rows){a, b, lda});
        begin++;
        a += a_step;
        b += b_step;
    }
    for (size_t steps = (end - begin) / rows; steps > 0; steps--, a += a_step, b += b_step) {
        prefetch_step(&go);
        sum_step(R, C, pairs, pairs ? LOWER | UPPER : LOWER, last, s, (struct sum_rows){a, b, lda});
    }
    if ((end - begin) % rows)
        sum_step(R, C, pairs, LOWER, last, s, (struct sum_rows){a, b, lda});
    *f = go;
    for (size_t i = 0; i < R; i++)
        for (size_t v = 0; v < C; v++)
            vec_store(c + i * ldc + v * STEP, s[i][v], v + 1 < C ? STEP : last);
}

/* R rows from row r on. */
TARGET EVERY_ISA void sum_rows_of(const size_t R, const bool pairs,
                                  const struct attn_weighted_sum *w, size_t r, struct prefetch *f) {
    const size_t C = R < 4 ? 4 : COLS, cols = w->cols;
    const size_t tiles = cols / STEP / C + cols / STEP % C + (cols % STEP > 0);
    size_t j = 0;
    prefetch_spread(f, R, w->m, tiles * ((w->end - w->begin) / (pairs ? 2 : 1)));
    for (; j + C * STEP <= cols; j += C * STEP)
        sum_tile(R, C, pairs, w, r, j, STEP, f);
    for (; j + STEP <= cols; j += STEP)
        sum_tile(R, 1, pairs, w, r, j, STEP, f);
    if (j < cols)
        sum_tile(R, 1, pairs, w, r, j, cols - j, f);
}

/* About equal tiles, because tiles of few rows wait for their sums. */
TARGET EVERY_ISA void weighted_sum(const bool pairs, const struct attn_weighted_sum *w) {
    struct prefetch f = prefetch_bytes(w->next, w->next_bytes);
    size_t tiles = (w->m + 5) / 6;
    for (size_t r = 0, rows; r < w->m; r += rows, tiles--) {
        rows = (w->m - r + tiles - 1) / tiles;
        switch (rows) {
        case 6:
            sum_rows_of(6, pairs, w, r, &f);
            break;
        case 5:
            sum_rows_of(5, pairs, w, r, &f);
            break;
        case 4:
            sum_rows_of(4, pairs, w, r, &f);
            break;
        case 3:
            sum_rows_of(3, pairs, w, r, &f);
            break;
        case 2:
            sum_rows_of(2, pairs, w, r, &f);
            break;
        default:
            sum_rows_of(1, pairs, w, r, &f);
            break;
        }
    }
}
