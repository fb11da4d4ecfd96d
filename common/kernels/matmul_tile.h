/* The inner loops of matmul, written once for all instruction sets: tiles.c includes this with each one's vector type and
 * operations defined:
 *
 *   ISA TARGET     the suffix of the names, the function attribute
 *   vec STEP       a vector of partial sums; how many k one fused multiply-add takes
 *   x_type         an element of x: float, or uint16_t where x is rounded to bf16
 *   zero()         of partial sums
 *   sums(y, v, n)                         adds up the lanes of each of n of them, in one fixed tree
 *   load_x(p, n) load_w(type, p, n)       STEP elements, those from n on zero, not reading past n
 *   multiply_add(acc, x, w)               the one instruction (or pair of them) that every product goes through
 *   ROWS OUTS      the register tile: ROWS * OUTS sums, OUTS vectors of w and one of x must fit the registers
 *   OUTS_1         the tile for one row: enough sums to hide the latency of multiply_add, and no more (streams cost)
 *
 * An output element has one vector of sums, whatever tile it falls into, and k only runs upwards: the same order of
 * additions everywhere.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
/* y [R, O] (stride ldy; output o stands at o * y_step) = x [R, n] (stride ldx) times w [O, n] (w_stride bytes) of the type.
 * Meanwhile `ahead` is fetched. A single row of x waits for memory: its tile takes BURST bytes of each row of w in
 * turn, which keeps the streams of the prefetchers few and long. */
TARGET EVERY_ISA void NAME(tile)(const size_t R, const size_t O, const enum wtype type, const bool fetch, float *y, size_t ldy,
                                 const x_type *x, size_t ldx, const unsigned char *w, size_t w_stride, size_t n,
                                 const float *bias, size_t y_step, struct ahead ahead) {
    const size_t size = type == W_F32 ? 4 : 2, steps = R == 1 ? BURST / (STEP * size) : 1;
    vec s[ROWS][OUTS > OUTS_1 ? OUTS : OUTS_1];
    UNROLLED for (size_t r = 0; r < R; r++)
        UNROLLED for (size_t o = 0; o < O; o++)
            s[r][o] = zero();
    size_t k = 0, ahead_at = 0, fetched = 0, ahead_step = ahead.bytes * STEP / n;
    if (steps > 1)
        for (; k + steps * STEP <= n; k += steps * STEP)
            for (size_t i = 0; i < steps; i++) {
                vec xv = load_x(x + k + i * STEP, STEP);
                UNROLLED for (size_t o = 0; o < O; o++)
                    s[0][o] = multiply_add(s[0][o], xv, load_w(type, w + o * w_stride + (k + i * STEP) * size, STEP));
            }
    for (; k + STEP <= n; k += STEP) {
        if (fetch)
            for (fetched += ahead_step; ahead_at < fetched; ahead_at += 64)
                __builtin_prefetch(ahead.p + ahead_at, 0, 2);
        vec wv[OUTS > OUTS_1 ? OUTS : OUTS_1];
        UNROLLED for (size_t o = 0; o < O; o++)
            wv[o] = load_w(type, w + o * w_stride + k * size, STEP);
        UNROLLED for (size_t r = 0; r < R; r++) {
            vec xv = load_x(x + r * ldx + k, STEP);
            UNROLLED for (size_t o = 0; o < O; o++)
                s[r][o] = multiply_add(s[r][o], xv, wv[o]);
        }
    }
    if (k < n)
        UNROLLED for (size_t o = 0; o < O; o++) {
            vec wv = load_w(type, w + o * w_stride + k * size, n - k);
            UNROLLED for (size_t r = 0; r < R; r++)
                s[r][o] = multiply_add(s[r][o], load_x(x + r * ldx + k, n - k), wv);
        }
    UNROLLED for (size_t r = 0; r < R; r++) {
        float out[8];
        sums(out, s[r], O);
        UNROLLED for (size_t o = 0; o < O; o++)
            y[r * ldy + o * y_step] = bias ? out[o] + bias[o * y_step] : out[o];
    }
}

/* All rows of x with O rows of w. */
TARGET EVERY_ISA void NAME(column)(const size_t O, const enum wtype type, float *y, size_t ldy, const x_type *x,
                                   size_t ldx, size_t n_rows, const unsigned char *w, size_t w_stride, size_t n,
                                   const float *bias, struct ahead ahead) {
    size_t r = 0;
#define TILE(R)                                                                                                     \
    if (ahead.bytes)                                                                                                \
        NAME(tile)(R, O, type, true, y + r * ldy, ldy, x + r * ldx, ldx, w, w_stride, n, bias, 1,                   \
                   ahead_share(ahead, r, R, n_rows));                                                               \
    else                                                                                                            \
        NAME(tile)(R, O, type, false, y + r * ldy, ldy, x + r * ldx, ldx, w, w_stride, n, bias, 1, ahead)
    for (; r + ROWS <= n_rows; r += ROWS) {
        TILE(ROWS);
    }
    switch (n_rows - r) { // ROWS is at most 6
    case 5:
        TILE(ROWS < 5 ? 1 : 5);
        break;
    case 4:
        TILE(ROWS < 4 ? 1 : 4);
        break;
    case 3:
        TILE(ROWS < 3 ? 1 : 3);
        break;
    case 2:
        TILE(2);
        break;
    case 1:
        TILE(1);
    }
#undef TILE
}

/* A single row of x takes rows of w that stand n_out / OUTS_1 apart, so that memory is read as long streams: the prefetchers
 * of the CPU follow those, and lose those that end after one row. Several rows have enough to do meanwhile for the next rows
 * of w to be asked for (where `fetch` says so), and outputs that stand side by side are stored as a vector. */
TARGET EVERY_ISA void NAME(multiply)(const enum wtype type, float *y, size_t ldy, const x_type *x, size_t ldx,
                                     size_t n_rows, const unsigned char *w, size_t n_out, size_t n_in,
                                     const float *bias, bool fetch) {
    const size_t stride = n_in * (type == W_F32 ? 4 : 2), run = n_out / OUTS_1;
    size_t o = 0;
    for (; n_rows == 1 && o < run; o++)
        NAME(tile)(1, OUTS_1, type, false, y + o, ldy, x, ldx, w + o * stride, run * stride, n_in, bias ? bias + o : NULL,
                   run, (struct ahead){0});
    if (n_rows == 1)
        o = run * OUTS_1;
    for (; n_rows > 1 && o + OUTS <= n_out; o += OUTS) {
        struct ahead ahead = {w + (o + OUTS) * stride, fetch && o + 2 * OUTS <= n_out ? OUTS * stride : 0};
        NAME(column)(OUTS, type, y + o, ldy, x, ldx, n_rows, w + o * stride, stride, n_in, bias ? bias + o : NULL, ahead);
    }
    for (; o < n_out; o++)
        NAME(column)(1, type, y + o, ldy, x, ldx, n_rows, w + o * stride, stride, n_in, bias ? bias + o : NULL,
                     (struct ahead){0});
}

#define MULTIPLY(type)                                                                                             \
    TARGET static void GLUE(multiply_##type, ISA)(float *y, size_t ldy, const void *x, size_t ldx, size_t n_rows,  \
                                                  const unsigned char *w, size_t n_out, size_t n_in,               \
                                                  const float *bias, bool fetch) {                                 \
        NAME(multiply)(type, y, ldy, x, ldx, n_rows, w, n_out, n_in, bias, fetch);                                 \
    }
MULTIPLY(W_BF16)
#if !defined(ONLY_BF16)
MULTIPLY(W_F16)
MULTIPLY(W_F32)
#endif
#undef MULTIPLY

static void NAME(matmul_fill)(matmul_fn **ops) {
    ops[W_BF16] = GLUE(multiply_W_BF16, ISA);
#if !defined(ONLY_BF16)
    ops[W_F16] = GLUE(multiply_W_F16, ISA);
    ops[W_F32] = GLUE(multiply_W_F32, ISA);
#endif
}
