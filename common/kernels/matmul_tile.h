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
 *   OUTS_1         the same for one row: enough sums to hide the latency of multiply_add, and no more (streams cost)
 *
 * An output element has one vector of sums, whatever tile it falls into, and k only runs upwards: the same order of
 * additions everywhere.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */

/* y [1, O] (output o stands at o * y_step) = x [n] times w [O, n] (w_stride bytes) of the type. It waits for memory: BURST
 * bytes of each row of w in turn keep the streams of the prefetchers few and long. */
TARGET EVERY_ISA void NAME(one_row)(const size_t O, const enum wtype type, float *y, size_t y_step, const x_type *x,
                                    const unsigned char *w, size_t w_stride, size_t n, const float *bias) {
    const size_t size = type == W_F32 ? 4 : 2, steps = BURST / (STEP * size);
    vec s[OUTS_1];
    UNROLLED for (size_t o = 0; o < O; o++)
        s[o] = zero();
    size_t k = 0;
    for (; k + steps * STEP <= n; k += steps * STEP)
        for (size_t i = 0; i < steps; i++) {
            vec xv = load_x(x + k + i * STEP, STEP);
            UNROLLED for (size_t o = 0; o < O; o++)
                s[o] = multiply_add(s[o], xv, load_w(type, w + o * w_stride + (k + i * STEP) * size, STEP));
        }
    for (size_t m; k < n; k += m) {
        m = n - k < STEP ? n - k : STEP;
        vec xv = load_x(x + k, m);
        UNROLLED for (size_t o = 0; o < O; o++)
            s[o] = multiply_add(s[o], xv, load_w(type, w + o * w_stride + k * size, m));
    }
    float out[8];
    sums(out, s, O);
    UNROLLED for (size_t o = 0; o < O; o++)
        y[o * y_step] = bias ? out[o] + bias[o * y_step] : out[o];
}

/* y [R, O] (stride ldy) = x [R, n] (stride ldx) times w [O, n] (w_stride bytes) of the type, of k only [from, to): sums go on from
 * kept [R, O], and to there until `to` is n. `fetching`: f goes on meanwhile. */
TARGET EVERY_ISA void NAME(tile)(const size_t R, const size_t O, const enum wtype type, const bool fetching, float *y,
                                 size_t ldy, const x_type *x, size_t ldx, const unsigned char *w, size_t w_stride,
                                 size_t from, size_t to, size_t n, const float *bias, vec *kept, struct fetch *f) {
    const size_t size = type == W_F32 ? 4 : 2;
    vec s[ROWS][OUTS];
    UNROLLED for (size_t r = 0; r < R; r++)
        UNROLLED for (size_t o = 0; o < O; o++)
            s[r][o] = from > 0 ? kept[r * O + o] : zero();
    struct fetch go = *f;
    size_t k = from;
    for (; k + STEP <= to; k += STEP) {
        if (fetching)
            fetch_step(&go);
        vec wv[OUTS];
        UNROLLED for (size_t o = 0; o < O; o++)
            wv[o] = load_w(type, w + o * w_stride + k * size, STEP);
        UNROLLED for (size_t r = 0; r < R; r++) {
            vec xv = load_x(x + r * ldx + k, STEP);
            UNROLLED for (size_t o = 0; o < O; o++)
                s[r][o] = multiply_add(s[r][o], xv, wv[o]);
        }
    }
    *f = go;
    if (k < to)
        UNROLLED for (size_t o = 0; o < O; o++) {
            vec wv = load_w(type, w + o * w_stride + k * size, to - k);
            UNROLLED for (size_t r = 0; r < R; r++)
                s[r][o] = multiply_add(s[r][o], load_x(x + r * ldx + k, to - k), wv);
        }
    UNROLLED for (size_t r = 0; r < R; r++) {
        if (to < n) {
            UNROLLED for (size_t o = 0; o < O; o++)
                kept[r * O + o] = s[r][o];
            continue;
        }
        float out[8];
        sums(out, s[r], O);
        if (bias)
            UNROLLED for (size_t o = 0; o < O; o++)
                out[o] += bias[o];
        memcpy(y + r * ldy, out, O * sizeof *out);
    }
}

/* R rows of x with a chunk of w, of k only [from, to): see tile. kept [n_out, R]. `back`: from the last tile to the first, so that
 * it begins with the rows of w where the rows before ended: those are in L1 still, and only x has to come. */
TARGET EVERY_ISA void NAME(rows)(const size_t R, const enum wtype type, float *y, size_t ldy, const x_type *x, size_t ldx,
                                 const unsigned char *w, size_t n_out, size_t from, size_t to, size_t n,
                                 const float *bias, vec *kept, bool back, struct fetch *f) {
    const size_t stride = n * (type == W_F32 ? 4 : 2);
    size_t o, groups = n_out / OUTS;
#define TILE(O, fetching)                                                                                            \
    NAME(tile)(R, O, type, fetching, y + o, ldy, x, ldx, w + o * stride, stride, from, to, n,                        \
               bias ? bias + o : NULL, kept + o * R, f)
    for (size_t i = 0; i < groups; i++) {
        o = (back ? groups - 1 - i : i) * OUTS;
        if (f->pace > 0)
            TILE(OUTS, true);
        else
            TILE(OUTS, false);
    }
    for (o = groups * OUTS; o < n_out; o++)
        TILE(1, false);
#undef TILE
}

/* A single row of x takes rows of w that stand n_out / OUTS_1 apart, so that memory is read as long streams: the prefetchers
 * of the CPU follow those, and lose those that end after one row. With several rows, a chunk of w stays in L2 while all of them
 * go by, as much of a row at a time as stays in L1 for a tile; what comes next, if cold, is fetched meanwhile. Few rows wait for
 * memory, of which a CPU asks the less the more it waits for L2 at the same time: theirs stay in L1, all of them, and so does what comes
 * next of w. */
TARGET EVERY_ISA void NAME(multiply)(const enum wtype type, float *y, size_t ldy, const x_type *x, size_t ldx,
                                     size_t n_rows, const unsigned char *w, size_t n_out, size_t n_in,
                                     const float *bias, struct cold cold) {
    const size_t size = type == W_F32 ? 4 : 2, stride = n_in * size, run = n_out / OUTS_1;
    if (n_rows == 1) {
        for (size_t o = 0; o < run; o++)
            NAME(one_row)(OUTS_1, type, y + o, run, x, w + o * stride, run * stride, n_in, bias ? bias + o : NULL);
        for (size_t o = run * OUTS_1; o < n_out; o++)
            NAME(one_row)(1, type, y + o, 1, x, w + o * stride, stride, n_in, bias ? bias + o : NULL);
        return;
    }
    const bool once = n_rows <= ROWS; // w is read once, and nothing of it has to stay
    const size_t part = once ? n_in : part_of_row(n_in, sizeof(x_type), STEP, n_rows);
    const size_t chunk = once ? OUTS : n_rows < CUT_ROWS ? CHUNK_OUTS / 2 : CHUNK_OUTS;
    vec kept[CHUNK_OUTS * CUT_ROWS];
    bool back = true;
    for (size_t o = 0, n; o < n_out; o += n) {
        n = n_out - o < chunk ? n_out - o : chunk;
        for (size_t from = 0, to, r; from < n_in; from = to) {
            to = n_in - from < part ? n_in : from + part;
            struct fetch f = to < n_in ? fetch_rows(w, stride, o, n, to * size, (n_in - to < part ? n_in - to : part) * size, cold)
                                       : fetch_rows(w, stride, o + n, chunk, 0, (part < n_in ? part : n_in) * size, cold);
            const size_t steps = n / OUTS * ((to - from) / STEP);
#define STRIP(R)                                                                                                     \
    fetch_at_pace(&f, R, n_rows, steps);                                                                             \
    NAME(rows)(R, type, y + r * ldy + o, ldy, x + r * ldx, ldx, w + o * stride, n, from, to, n_in,                   \
               bias ? bias + o : NULL, kept + (part < n_in ? r * n : 0), (back = !back), &f)
            for (r = 0; r + ROWS <= n_rows; r += ROWS) {
                STRIP(ROWS);
            }
            switch (n_rows - r) { // ROWS is at most 6
            case 5:
                STRIP(ROWS < 5 ? 1 : 5);
                break;
            case 4:
                STRIP(ROWS < 4 ? 1 : 4);
                break;
            case 3:
                STRIP(ROWS < 3 ? 1 : 3);
                break;
            case 2:
                STRIP(2);
                break;
            case 1:
                STRIP(1);
            }
#undef STRIP
        }
    }
}

#define MULTIPLY(type)                                                                                             \
    TARGET static void GLUE(multiply_##type, ISA)(float *y, size_t ldy, const void *x, size_t ldx, size_t n_rows,  \
                                                  const unsigned char *w, size_t n_out, size_t n_in,               \
                                                  const float *bias, struct cold cold) {                           \
        NAME(multiply)(type, y, ldy, x, ldx, n_rows, w, n_out, n_in, bias, cold);                                  \
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
