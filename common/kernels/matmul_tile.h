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
 * Meanwhile rows of `ahead` are fetched. A single row of x waits for memory: its tile takes BURST bytes of each row of w in
 * turn, which keeps the streams of the prefetchers few and long. */
TARGET EVERY_ISA void NAME(tile)(const size_t R, const size_t O, const enum wtype type, float *y, size_t ldy,
                                 const x_type *x, size_t ldx, const unsigned char *w, size_t w_stride, size_t n,
                                 const float *bias, size_t y_step, struct rows_ahead ahead) {
    const size_t size = type == W_F32 ? 4 : 2, steps = R == 1 ? BURST / (STEP * size) : 1;
    vec s[ROWS][OUTS > OUTS_1 ? OUTS : OUTS_1];
    UNROLLED for (size_t r = 0; r < R; r++)
        UNROLLED for (size_t o = 0; o < O; o++)
            s[r][o] = zero();
    size_t k = 0;
    if (steps > 1)
        for (; k + steps * STEP <= n; k += steps * STEP)
            for (size_t i = 0; i < steps; i++) {
                vec xv = load_x(x + k + i * STEP, STEP);
                UNROLLED for (size_t o = 0; o < O; o++)
                    s[0][o] = multiply_add(s[0][o], xv, load_w(type, w + o * w_stride + (k + i * STEP) * size, STEP));
            }
    for (; k + STEP <= n; k += STEP) {
        for (size_t i = 0; i < ahead.n_rows; i++)
            __builtin_prefetch(ahead.w + i * ahead.stride + k * size, 0, 2);
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

/* The rows of `ahead` that are fetched beside group g of `groups` groups of ROWS rows of x: an equal part of O. */
EVERY_ISA struct rows_ahead NAME(share)(struct rows_ahead ahead, size_t O, size_t g, size_t groups) {
    size_t each = (O + groups - 1) / groups, from = g * each, to = from + each < O ? from + each : O;
    ahead.w += from * ahead.stride;
    ahead.n_rows = from < to && to <= ahead.n_rows ? to - from : 0;
    return ahead;
}

/* All rows of x with O rows of w. */
TARGET EVERY_ISA void NAME(column)(const size_t O, const enum wtype type, float *y, size_t ldy, const x_type *x,
                                   size_t ldx, size_t n_rows, const unsigned char *w, size_t w_stride, size_t n,
                                   const float *bias, size_t y_step, struct rows_ahead ahead) {
    const size_t groups = (n_rows + ROWS - 1) / ROWS;
    size_t r = 0;
#define TILE(R)                                                                                                     \
    NAME(tile)(R, O, type, y + r * ldy, ldy, x + r * ldx, ldx, w, w_stride, n, bias, y_step,                        \
               NAME(share)(ahead, O, r / ROWS, groups))
    for (; r + ROWS <= n_rows; r += ROWS)
        TILE(ROWS);
    switch (n_rows - r) { // ROWS is at most 6
    case 5:
        TILE(ROWS < 5 ? 1 : 5);
        break;
    case 4:
        TILE(ROWS < 4 ? 1 : 4);
        break;
    case 3:
        TILE(3);
        break;
    case 2:
        TILE(2);
        break;
    case 1:
        TILE(1);
    }
#undef TILE
}

/* The O rows of w that a tile takes stand n_out / O apart, so that memory is read as O long streams: the prefetchers of
 * the CPU follow those, and lose those that end after one row. Several rows of x have enough to do meanwhile for the next
 * rows of w to be asked for. */
TARGET EVERY_ISA void NAME(multiply)(const enum wtype type, float *y, size_t ldy, const x_type *x, size_t ldx,
                                     size_t n_rows, const unsigned char *w, size_t n_out, size_t n_in,
                                     const float *bias) {
    const size_t outs = n_rows == 1 ? OUTS_1 : OUTS, stride = n_in * (type == W_F32 ? 4 : 2);
    size_t run = n_out / outs, o = 0;
    struct rows_ahead ahead = {.stride = stride};
    for (; o < run && n_rows == 1; o++)
        NAME(tile)(1, OUTS_1, type, y + o, ldy, x, ldx, w + o * stride, run * stride, n_in, bias ? bias + o : NULL,
                   run, ahead);
    for (; o < run; o++) {
        ahead.w = w + (o + 1) * OUTS * stride;
        ahead.n_rows = o + 1 < run ? OUTS : 0;
        NAME(column)(OUTS, type, y + o * OUTS, ldy, x, ldx, n_rows, w + o * OUTS * stride, stride, n_in,
                     bias ? bias + o * OUTS : NULL, 1, ahead);
    }
    ahead.n_rows = 0;
    for (o = run * outs; o < n_out; o++)
        NAME(column)(1, type, y + o, ldy, x, ldx, n_rows, w + o * stride, stride, n_in, bias ? bias + o : NULL, 1, ahead);
}

#define MULTIPLY(type)                                                                                             \
    TARGET static void GLUE(multiply_##type, ISA)(float *y, size_t ldy, const void *x, size_t ldx, size_t n_rows,  \
                                                  const unsigned char *w, size_t n_out, size_t n_in,               \
                                                  const float *bias) {                                             \
        NAME(multiply)(type, y, ldy, x, ldx, n_rows, w, n_out, n_in, bias);                                        \
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
