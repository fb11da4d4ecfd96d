/* The inner loops of matmul, written once for all instruction sets: tiles.c includes this with each one's vector type and
 * operations defined:
 *
 *   ISA TARGET     the suffix of the names, the function attribute
 *   vec STEP       a vector of partial sums; how many k one fused multiply-add takes
 *   x_type         an element of x: float, or uint16_t where x is rounded to bf16
 *   zero() load(p) store(p, v)            of partial sums
 *   sums(y, v, n)                         adds up the lanes of each of n of them, in one fixed tree
 *   load_x(p, n) load_w(type, p, n)       STEP elements, those from n on zero, not reading past n
 *   multiply_add(acc, x, w)               the one instruction (or pair of them) that every product goes through
 *   ROWS OUTS      the register tile: ROWS * OUTS sums, OUTS vectors of w and one of x must fit the registers
 *   OUTS_1         the tile for one row: enough sums to hide the latency of multiply_add, and no more (streams cost)
 *
 * An output element has one vector of sums, whatever tile it falls into, and k only runs upwards: the same order of
 * additions everywhere. A tile may stop at some k and store its sums (acc), to go on from there.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
/* x [R, n] (stride ldx), w [O, n] (w_stride bytes) of the type: y [R, O] (stride ldy). acc [R, acc_ld, vec] holds sums
 * between the parts of k: FIRST starts from zero instead, LAST writes y instead, where output o stands at o * y_step.
 * Meanwhile the next n elements of each row of `ahead` are fetched. A single row of x waits for memory: its tile takes
 * BURST bytes of each row of w in turn, which keeps the streams of the prefetchers few and long. */
TARGET EVERY_ISA void NAME(tile)(const size_t R, const size_t O, const enum wtype type, const int part, float *y,
                                 size_t ldy, const x_type *x, size_t ldx, const unsigned char *w, size_t w_stride,
                                 size_t n, const float *bias, size_t y_step, float *acc, size_t acc_ld,
                                 struct matmul_ahead ahead) {
    const size_t size = type == W_F32 ? 4 : 2, lanes = sizeof(vec) / sizeof(float);
    const size_t steps = R == 1 ? BURST / (STEP * size) : 1;
    vec s[ROWS][OUTS > OUTS_1 ? OUTS : OUTS_1];
    for (size_t r = 0; r < R; r++)
        for (size_t o = 0; o < O; o++)
            s[r][o] = part & FIRST ? zero() : load(acc + (r * acc_ld + o) * lanes);
    size_t k = 0;
    if (steps > 1)
        for (; k + steps * STEP <= n; k += steps * STEP)
            for (size_t i = 0; i < steps; i++) {
                vec xv = load_x(x + k + i * STEP, STEP);
                for (size_t o = 0; o < O; o++)
                    s[0][o] = multiply_add(s[0][o], xv, load_w(type, w + o * w_stride + (k + i * STEP) * size, STEP));
            }
    for (; k + STEP <= n; k += STEP) {
        for (size_t i = 0; i < ahead.n_rows; i++)
            __builtin_prefetch(ahead.w + i * ahead.stride + k * ahead.size, 0, 2);
        vec wv[OUTS > OUTS_1 ? OUTS : OUTS_1];
        for (size_t o = 0; o < O; o++)
            wv[o] = load_w(type, w + o * w_stride + k * size, STEP);
        for (size_t r = 0; r < R; r++) {
            vec xv = load_x(x + r * ldx + k, STEP);
            for (size_t o = 0; o < O; o++)
                s[r][o] = multiply_add(s[r][o], xv, wv[o]);
        }
    }
    if (k < n)
        for (size_t o = 0; o < O; o++) {
            vec wv = load_w(type, w + o * w_stride + k * size, n - k);
            for (size_t r = 0; r < R; r++)
                s[r][o] = multiply_add(s[r][o], load_x(x + r * ldx + k, n - k), wv);
        }
    for (size_t r = 0; r < R; r++)
        if (part & LAST) {
            float out[8];
            sums(out, s[r], O);
            for (size_t o = 0; o < O; o++)
                y[r * ldy + o * y_step] = bias ? out[o] + bias[o * y_step] : out[o];
        } else {
            for (size_t o = 0; o < O; o++)
                store(acc + (r * acc_ld + o) * lanes, s[r][o]);
        }
}

/* The rows of `ahead` that are fetched beside group g of `groups` groups of ROWS rows of x, an equal part of O of them each. */
EVERY_ISA struct matmul_ahead NAME(share)(struct matmul_ahead ahead, size_t O, size_t g, size_t groups) {
    size_t each = (O + groups - 1) / groups, from = g * each, to = from + each < O ? from + each : O;
    ahead.w += from * ahead.stride;
    ahead.n_rows = from < to && to <= ahead.n_rows ? to - from : 0;
    return ahead;
}

/* All rows of x with O rows of w. */
TARGET EVERY_ISA void NAME(column)(const size_t O, const enum wtype type, const int part, float *y, size_t ldy,
                                   const x_type *x, size_t ldx, size_t n_rows, const unsigned char *w,
                                   size_t w_stride, size_t n, const float *bias, size_t y_step, float *acc,
                                   size_t acc_ld, struct matmul_ahead ahead) {
    const size_t lanes = sizeof(vec) / sizeof(float), groups = (n_rows + ROWS - 1) / ROWS;
    size_t r = 0;
#define TILE(R)                                                                                                     \
    NAME(tile)(R, O, type, part, y + r * ldy, ldy, x + r * ldx, ldx, w, w_stride, n, bias, y_step,                  \
               acc + r * acc_ld * lanes, acc_ld, NAME(share)(ahead, O, r / ROWS, groups))
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

/* Weights straight from memory. The O rows of w that a tile takes stand n_out / O apart, so that memory is read as O
 * long streams: the prefetchers of the CPU follow those, and lose those that end after one row. Several rows of x have
 * enough to do meanwhile for the next rows of w to be asked for. */
TARGET EVERY_ISA void NAME(direct)(const enum wtype type, float *y, size_t ldy, const x_type *x, size_t ldx,
                                   size_t n_rows, const unsigned char *w, size_t n_out, size_t n_in,
                                   const float *bias) {
    const size_t outs = n_rows == 1 ? OUTS_1 : OUTS, size = type == W_F32 ? 4 : 2;
    size_t stride = n_in * size, run = n_out / outs, o = 0;
    struct matmul_ahead ahead = {.stride = run * stride, .size = size};
    for (; o < run; o++) {
        ahead.w = w + (o + 1) * stride;
        ahead.n_rows = n_rows > 1 && o + 1 < run ? OUTS : 0;
        if (n_rows == 1)
            NAME(tile)(1, OUTS_1, type, FIRST | LAST, y + o, ldy, x, ldx, w + o * stride, run * stride, n_in,
                       bias ? bias + o : NULL, run, NULL, 0, ahead);
        else
            NAME(column)(OUTS, type, FIRST | LAST, y + o, ldy, x, ldx, n_rows, w + o * stride, run * stride, n_in,
                         bias ? bias + o : NULL, run, NULL, 0, ahead);
    }
    ahead.n_rows = 0;
    for (o = run * outs; o < n_out; o++)
        NAME(column)(1, type, FIRST | LAST, y + o, ldy, x, ldx, n_rows, w + o * stride, stride, n_in,
                     bias ? bias + o : NULL, 1, NULL, 0, ahead);
}

/* The same for weights that were unpacked to x_type: panel [n_out, panel_ld], n of each row now. */
TARGET EVERY_ISA void NAME(panel_part)(const int part, float *y, size_t ldy, const x_type *x, size_t ldx,
                                       size_t n_rows, const x_type *panel, size_t panel_ld, size_t n_out, size_t n,
                                       const float *bias, float *acc, struct matmul_ahead ahead) {
    const size_t lanes = sizeof(vec) / sizeof(float), rows_at_once = ROWS, groups = (n_rows + ROWS - 1) / ROWS;
    const enum wtype type = sizeof(x_type) == 4 ? W_F32 : W_BF16;
    size_t stride = panel_ld * sizeof(x_type);
    const unsigned char *w = (const unsigned char *)panel;
    for (size_t r = 0; r < n_rows; r += rows_at_once) {
        size_t rows = n_rows - r < rows_at_once ? n_rows - r : rows_at_once, o = 0;
#define COLUMN(O)                                                                                                  \
    NAME(column)(O, type, part, y + r * ldy + o, ldy, x + r * ldx, ldx, rows, w + o * stride, stride, n,           \
                 bias ? bias + o : NULL, 1, acc + (r * n_out + o) * lanes, n_out, next)
        for (; o + OUTS <= n_out; o += OUTS) {
            struct matmul_ahead next = {ahead.w + o * ahead.stride, ahead.stride, ahead.size,
                                        o + OUTS <= ahead.n_rows ? OUTS : 0};
            next = NAME(share)(next, OUTS, r / rows_at_once, groups);
            COLUMN(OUTS);
        }
        const struct matmul_ahead next = {0};
        for (; o < n_out; o++)
            COLUMN(1);
#undef COLUMN
    }
}

#define DIRECT(type)                                                                                               \
    TARGET static void GLUE(direct_##type, ISA)(float *y, size_t ldy, const void *x, size_t ldx, size_t n_rows,    \
                                                const unsigned char *w, size_t n_out, size_t n_in,                 \
                                                const float *bias) {                                               \
        NAME(direct)(type, y, ldy, x, ldx, n_rows, w, n_out, n_in, bias);                                          \
    }
DIRECT(W_BF16)
#if !defined(ONLY_BF16)
DIRECT(W_F16)
DIRECT(W_F32)
#endif
#undef DIRECT

TARGET static void NAME(panel)(int part, float *y, size_t ldy, const void *x, size_t ldx, size_t n_rows,
                               const void *panel, size_t panel_ld, size_t n_out, size_t n, const float *bias,
                               float *acc, struct matmul_ahead ahead) {
    switch (part) {
    case FIRST | LAST:
        NAME(panel_part)(FIRST | LAST, y, ldy, x, ldx, n_rows, panel, panel_ld, n_out, n, bias, acc, ahead);
        break;
    case FIRST:
        NAME(panel_part)(FIRST, y, ldy, x, ldx, n_rows, panel, panel_ld, n_out, n, bias, acc, ahead);
        break;
    case LAST:
        NAME(panel_part)(LAST, y, ldy, x, ldx, n_rows, panel, panel_ld, n_out, n, bias, acc, ahead);
        break;
    default:
        NAME(panel_part)(0, y, ldy, x, ldx, n_rows, panel, panel_ld, n_out, n, bias, acc, ahead);
    }
}

/* panel [n_out, panel_ld] = n elements of each of n_out rows of W. */
TARGET EVERY_ISA void NAME(unpack)(const enum wtype type, x_type *panel, size_t panel_ld, const unsigned char *w,
                                   size_t w_stride, size_t n_out, size_t n) {
    for (size_t o = 0; o < n_out; o++, w += w_stride, panel += panel_ld) {
        if (sizeof(x_type) == (type == W_F32 ? 4 : 2)) {
            memcpy(panel, w, n * sizeof(x_type));
            continue;
        }
        size_t k = 0;
        for (; k + STEP <= n; k += STEP)
            store((float *)(void *)(panel + k), load_w(type, w + k * 2, STEP));
        if (k < n)
            store((float *)(void *)(panel + k), load_w(type, w + k * 2, n - k));
    }
}
#define UNPACK(type)                                                                                               \
    TARGET static void GLUE(unpack_##type, ISA)(void *panel, size_t panel_ld, const unsigned char *w,              \
                                                size_t w_stride, size_t n_out, size_t n) {                         \
        NAME(unpack)(type, panel, panel_ld, w, w_stride, n_out, n);                                                \
    }
UNPACK(W_BF16)
#if !defined(ONLY_BF16)
UNPACK(W_F16)
UNPACK(W_F32)
#endif
#undef UNPACK

static void NAME(matmul_fill)(struct matmul_ops *ops) {
    *ops = (struct matmul_ops){GLUE(direct_W_BF16, ISA), GLUE(unpack_W_BF16, ISA), NAME(panel), sizeof(vec),
                               sizeof(x_type)};
#if !defined(ONLY_BF16)
    ops[W_F16] = ops[W_F32] = *ops;
    ops[W_F16].direct = GLUE(direct_W_F16, ISA);
    ops[W_F16].unpack = GLUE(unpack_W_F16, ISA);
    ops[W_F32].direct = GLUE(direct_W_F32, ISA);
    ops[W_F32].unpack = GLUE(unpack_W_F32, ISA);
#endif
}
