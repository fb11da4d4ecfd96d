/* The inner loops of matmul, written once for all instruction sets: tiles.c includes this with each
 * one's vector type and operations defined:
 *
 *   ISA TARGET     the suffix of the names, the function attribute
 *   vec STEP       a vector of partial sums; how many k one fused multiply-add takes
 *   x_type         an element of x: float, or uint16_t where x is rounded to bf16
 *   zero()         of partial sums
 *   sums(y, v, n)                         adds up the lanes of each of n of them, in one fixed
 * tree; y has room for whole fours load_x(p, n) load_w(type, p, n)       STEP elements, those from
 * n on zero, not reading past n multiply_add(acc, x, w)               the one instruction (or pair
 * of them) that every product goes through ROWS OUTS      the register tile: ROWS * OUTS sums, OUTS
 * vectors of w and one of x must fit the registers OUTS_1         the same for one row: enough sums
 * to hide the latency of multiply_add, and no more (streams cost) TALL_OUTS      the same for
 * TALL_ROWS, where x lies in strips (table.h); not defined: it lies as rows
 *
 * An output element has one vector of sums, whatever tile it falls into, and k only runs upwards:
 * the same order of additions everywhere.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */

/* y [1, O] (output o stands at o * y_step) = x [n] times w [O, n] (w_stride bytes) of the type. It
 * waits for memory: BURST bytes of each row of w in turn keep the streams of the prefetchers few
 * and long. */
TARGET EVERY_ISA void NAME(one_row)(const size_t O, const enum wtype type, float *y, size_t y_step,
                                    const x_type *x, const unsigned char *w, size_t w_stride,
                                    size_t n, const float *bias) {
    const size_t size = type == W_F32 ? 4 : 2, steps = BURST / (STEP * size);
    vec s[OUTS_1];
    UNROLLED for (size_t o = 0; o < O; o++) s[o] = zero();
    size_t k = 0;
    for (; k + steps * STEP <= n; k += steps * STEP)
        for (size_t i = 0; i < steps; i++) {
            vec xv = load_x(x + k + i * STEP, STEP);
            UNROLLED for (size_t o = 0; o < O; o++) s[o] = multiply_add(
                s[o], xv, load_w(type, w + o * w_stride + (k + i * STEP) * size, STEP));
        }
    for (size_t m; k < n; k += m) {
        m = n - k < STEP ? n - k : STEP;
        vec xv = load_x(x + k, m);
        UNROLLED for (size_t o = 0; o < O; o++) s[o] =
            multiply_add(s[o], xv, load_w(type, w + o * w_stride + k * size, m));
    }
    float out[8];
    sums(out, s, O);
    UNROLLED for (size_t o = 0; o < O; o++) y[o * y_step] =
        bias ? out[o] + bias[o * y_step] : out[o];
}

/* In how many steps of a tile of O outputs once something is fetched. Many rows have time, and the
 * loop between is shorter; tall strips, which are few rows, need all that memory gives. */
#if defined(TALL_OUTS)
#define IN_STRIPS true
#define PAUSE(O)  (size_t)(O == TALL_OUTS ? 1 : FETCH_PAUSE)
#else
#define IN_STRIPS false
#define PAUSE(O)  (size_t)1
#endif

/* A tile's sums, of what is before k = `from`; */
TARGET EVERY_ISA void NAME(begin)(const size_t R, const size_t O, vec s[MOST_ROWS][MOST_OUTS],
                                  const vec *kept, size_t from) {
    UNROLLED for (size_t r = 0; r < R; r++) UNROLLED for (size_t o = 0; o < O; o++) s[r][o] =
        from > 0 ? kept[r * O + o] : zero();
}
/* n elements from k on, STEP or fewer, added to them; */
TARGET EVERY_ISA void NAME(step)(const size_t R, const size_t O, const enum wtype type,
                                 vec s[MOST_ROWS][MOST_OUTS], const x_type *x, size_t ldx,
                                 const unsigned char *w, size_t w_stride, size_t k, size_t n) {
    vec wv[MOST_OUTS];
    UNROLLED for (size_t o = 0; o < O; o++) wv[o] =
        load_w(type, w + o * w_stride + k * (type == W_F32 ? 4 : 2), n);
    UNROLLED for (size_t r = 0; r < R; r++) {
        vec xv = load_x(IN_STRIPS ? x + k * R + r * SIDE : x + r * ldx + k, n);
        UNROLLED for (size_t o = 0; o < O; o++) s[r][o] = multiply_add(s[r][o], xv, wv[o]);
    }
}
/* and put into y, if these are all, or else kept. */
TARGET EVERY_ISA void NAME(end)(const size_t R, const size_t O, vec s[MOST_ROWS][MOST_OUTS],
                                float *y, size_t ldy, const float *bias, vec *kept, bool last) {
    UNROLLED for (size_t r = 0; r < R; r++) {
        if (!last) {
            UNROLLED for (size_t o = 0; o < O; o++) kept[r * O + o] = s[r][o];
            continue;
        }
        float out[8];
        sums(out, s[r], O);
        if (bias)
            UNROLLED for (size_t o = 0; o < O; o++) out[o] += bias[o];
        memcpy(y + r * ldy, out, O * sizeof *out);
    }
}

/* y [R, O] (stride ldy) = x [R, n] (stride ldx) times w [O, n] (w_stride bytes) of the type, of k
 * only [from, to): sums go on from kept [R, O], and to there until `to` is n. f goes on meanwhile.
 */
TARGET EVERY_ISA void NAME(tile)(const size_t R, const size_t O, const enum wtype type, float *y,
                                 size_t ldy, const x_type *x, size_t ldx, const unsigned char *w,
                                 size_t w_stride, size_t from, size_t to, size_t n,
                                 const float *bias, vec *kept, struct fetch *f) {
    const size_t pause = PAUSE(O);
    vec s[MOST_ROWS][MOST_OUTS];
    NAME(begin)(R, O, s, kept, from);
    struct fetch go = *f;
    size_t k = from;
    while (k + pause * STEP <= to) {
        fetch_step(&go);
        for (size_t i = 0; i < pause; i++, k += STEP)
            NAME(step)(R, O, type, s, x, ldx, w, w_stride, k, STEP);
    }
    for (; pause > 1 && k + STEP <= to; k += STEP)
        NAME(step)(R, O, type, s, x, ldx, w, w_stride, k, STEP);
    *f = go;
    if (k < to)
        NAME(step)(R, O, type, s, x, ldx, w, w_stride, k, to - k);
    NAME(end)(R, O, s, y, ldy, bias, kept, to == n);
}

/* A strip of rows of x with a chunk of w, of k only [from, to): see tile. kept [n_out, rows].
 * `back`: from the last tile to the first, so that it begins with the rows of w where the rows
 * before ended: those are in L1 still, and only x has to come. */
struct NAME(strip) {
    float *y;
    const x_type *x;
    const unsigned char *w;
    const float *bias;
    vec *kept;
    size_t ldy, ldx, n_out, from, to, n;
    bool back;
    struct fetch *f;
};
TARGET EVERY_ISA void NAME(strip_of)(const size_t R, const size_t O, const enum wtype type,
                                     const struct NAME(strip) * s) {
    const size_t stride = s->n * (type == W_F32 ? 4 : 2), groups = s->n_out / O;
    size_t o;
    struct fetch nothing = {0};
#define TILE(O, f)                                                                                 \
    NAME(tile)                                                                                     \
    (R, O, type, s->y + o, s->ldy, s->x, s->ldx, s->w + o * stride, stride, s->from, s->to, s->n,  \
     s->bias ? s->bias + o : NULL, s->kept + o * R, f)
    for (size_t i = 0; i < groups; i++) {
        o = (s->back ? groups - 1 - i : i) * O;
        TILE(O, s->f);
    }
    for (o = groups * O; o < s->n_out; o++)
        TILE(1, &nothing);
#undef TILE
}

typedef void NAME(strip_fn)(const struct NAME(strip) * s);

#if defined(TALL_OUTS)
#include "kernels/matmul_pass.h"
#endif

/* A single row of x takes rows of w that stand n_out / OUTS_1 apart, so that memory is read as long
 * streams: the prefetchers of the CPU follow those, and lose those that end after one row. With
 * several rows, a chunk of w stays in L2 while all of them go by, as much of a row at a time as
 * stays in L1 for a tile; what comes next, if cold, is fetched meanwhile. Few rows (table.h) ask
 * much of memory, of which a CPU gets the less the more it waits for L2 at the same time: theirs
 * stay in L1, all of them, and so does what comes next of w. A tile's worth of rows, or one strip
 * (matmul_pass.h), takes w once. */
TARGET EVERY_ISA void NAME(multiply)(const enum wtype type, NAME(strip_fn) *const *run_strip,
                                     float *y, size_t ldy, const x_type *x, size_t ldx,
                                     size_t n_rows, const unsigned char *w, size_t n_out,
                                     size_t n_in, const float *bias, struct cold cold) {
    const size_t size = type == W_F32 ? 4 : 2, stride = n_in * size, run = n_out / OUTS_1;
    if (n_rows == 1) {
        for (size_t o = 0; o < run; o++)
            NAME(one_row)
            (OUTS_1, type, y + o, run, x, w + o * stride, run * stride, n_in,
             bias ? bias + o : NULL);
        for (size_t o = run * OUTS_1; o < n_out; o++)
            NAME(one_row)
            (1, type, y + o, 1, x, w + o * stride, stride, n_in, bias ? bias + o : NULL);
        return;
    }
#if defined(TALL_OUTS)
    const size_t strips = strips_of(n_rows), outs = tall(n_rows) ? TALL_OUTS : OUTS;
    if (n_rows <= TALL_ROWS) {
        static void (*const passes[])(float *, size_t, const x_type *, const unsigned char *,
                                      size_t, size_t, const float *, const unsigned char *) = {
            [2] = NAME(pass_2), NAME(pass_3), NAME(pass_4), NAME(pass_5),
            NAME(pass_6),       NAME(pass_7), NAME(pass_8)};
        passes[n_rows](y, ldy, x, w, n_out, n_in, bias, cold.next.w);
        return;
    }
#else
    const size_t strips = (n_rows + ROWS - 1) / ROWS, outs = OUTS;
#endif
    const bool once = n_rows <= ROWS; // w is read once, and nothing of it has to stay
    const size_t part = once ? n_in : part_of_row(n_in, sizeof(x_type), STEP, n_rows);
    const size_t chunk = once ? OUTS : CHUNK_OUTS;
    vec kept[CHUNK_OUTS * CUT_ROWS];
    bool back = true;
    for (size_t o = 0, n; o < n_out; o += n) {
        n = n_out - o < chunk ? n_out - o : chunk;
        for (size_t from = 0, to; from < n_in; from = to) {
            to = n_in - from < part ? n_in : from + part;
            struct fetch f = fetch_next(w, o, n_out, chunk, to, part, n_in, stride, cold);
            const size_t times = n / outs * ((to - from) / (STEP * PAUSE(outs)));
            for (size_t r = 0, i = 0, R; r < n_rows; r += R, i++) {
                R = strip_rows(n_rows - r, strips - i);
                fetch_at_pace(&f, R, n_rows, times);
                run_strip[outs == OUTS ? R : TALL_ROWS + R](
                    &(struct NAME(strip)){y + r * ldy + o, x + r * ldx, w + o * stride,
                                          bias ? bias + o : NULL, kept + (part < n_in ? r * n : 0),
                                          ldy, ldx, n, from, to, n_in, (back = !back), &f});
            }
        }
    }
}

/* Each strip is a function of its own: then compilers find registers for all of its inner loop. */
#define STRIP(R, type)                                                                             \
    TARGET __attribute__((noinline)) static void NAME(strip_##R##_##type)(                         \
        const struct NAME(strip) * s) {                                                            \
        NAME(strip_of)(R, OUTS, type, s);                                                          \
    }
#define TALL_STRIP(R, type)                                                                        \
    TARGET __attribute__((noinline)) static void NAME(tall_strip_##R##_##type)(                    \
        const struct NAME(strip) * s) {                                                            \
        NAME(strip_of)(R, TALL_OUTS, type, s);                                                     \
    }
#define STRIPS(type) STRIP(1, type) STRIP(2, type) STRIP(3, type) STRIP(4, type)
#define STRIPS_AT(type)                                                                            \
    [1] = NAME(strip_1_##type), [2] = NAME(strip_2_##type), [3] = NAME(strip_3_##type),            \
    [4] = NAME(strip_4_##type)
#if defined(TALL_OUTS)
#define MORE_STRIPS(type)                                                                          \
    STRIP(5, type)                                                                                 \
    STRIP(6, type) TALL_STRIP(4, type) TALL_STRIP(5, type) TALL_STRIP(6, type) TALL_STRIP(7, type) \
        TALL_STRIP(8, type)
#define MORE_STRIPS_AT(type)                                                                       \
    , [5] = NAME(strip_5_##type), [6] = NAME(strip_6_##type),                                      \
      [TALL_ROWS + 4] = NAME(tall_strip_4_##type), [TALL_ROWS + 5] = NAME(tall_strip_5_##type),    \
      [TALL_ROWS + 6] = NAME(tall_strip_6_##type), [TALL_ROWS + 7] = NAME(tall_strip_7_##type),    \
      [TALL_ROWS + 8] = NAME(tall_strip_8_##type)
#else
#define MORE_STRIPS(type)
#define MORE_STRIPS_AT(type)
#endif
#define MULTIPLY(type)                                                                             \
    STRIPS(type)                                                                                   \
    MORE_STRIPS(type) TARGET static void GLUE(multiply_##type, ISA)(                               \
        float *y, size_t ldy, const void *x, size_t ldx, size_t n_rows, const unsigned char *w,    \
        size_t n_out, size_t n_in, const float *bias, struct cold cold) {                          \
        static NAME(strip_fn) *const strips[] = {STRIPS_AT(type) MORE_STRIPS_AT(type)};            \
        NAME(multiply)(type, strips, y, ldy, x, ldx, n_rows, w, n_out, n_in, bias, cold);          \
    }
MULTIPLY(W_BF16)
#if !defined(ONLY_BF16)
MULTIPLY(W_F16)
MULTIPLY(W_F32)
#endif
#undef MULTIPLY
#undef STRIP
#undef TALL_STRIP
#undef STRIPS
#undef STRIPS_AT
#undef MORE_STRIPS
#undef MORE_STRIPS_AT
#undef IN_STRIPS
#undef PAUSE

static void NAME(matmul_fill)(matmul_fn **ops) {
    ops[W_BF16] = GLUE(multiply_W_BF16, ISA);
#if !defined(ONLY_BF16)
    ops[W_F16] = GLUE(multiply_W_F16, ISA);
    ops[W_F32] = GLUE(multiply_W_F32, ISA);
#endif
}
