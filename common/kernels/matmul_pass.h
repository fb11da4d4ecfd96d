/* Few rows of x, one strip (matmul_tile.h, which includes this where x lies in strips). W goes by
 * once, so that memory sets the pace: nothing is fetched earlier than it takes to come, and x has
 * the rest of L1.
 *
 * Up to 5 rows wait for memory even where two cores share its rate: one row of w after the other is
 * the one stream that memory reads best, 10 % faster than three. With more rows three are faster: 8
 * make 235 GFLOP/s on a core of Zen 5, and 180 as tiles of 6 and 2 whose w is fetched a tile ahead.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */

enum {
    PASS_X = 24 << 10,   // bytes of x
    PASS_AHEAD = 6 << 10 // and of w ahead
};

/* As tile. The lines of w are asked for PASS_AHEAD bytes before their turn, and after the last of
 * this part of its rows the first of those at `next`. */
TARGET EVERY_ISA void NAME(passing)(const size_t R, const size_t O, const enum wtype type, float *y,
                                    size_t ldy, const x_type *x, const unsigned char *w,
                                    const unsigned char *next, size_t w_stride, size_t from,
                                    size_t to, size_t n, const float *bias, vec *kept) {
    const size_t size = 2, near = PASS_AHEAD / O / size;
    vec s[MOST_ROWS][MOST_OUTS];
    NAME(begin)(R, O, s, kept, from);
    size_t k = from;
    const unsigned char *ahead = w + near * size;
    for (int within = 1; within >= 0; within--) {
        size_t until = !within ? to : to > from + near ? to - near : from;
        for (; k + STEP <= until; k += STEP) {
            UNROLLED for (size_t o = 0; o < O; o++)
                __builtin_prefetch(ahead + o * w_stride + k * size, 0, 3);
            NAME(step)(R, O, type, s, x, 0, w, w_stride, k, STEP);
        }
        ahead = next - k * size;
    }
    if (k < to)
        NAME(step)(R, O, type, s, x, 0, w, w_stride, k, to - k);
    NAME(end)(R, O, s, y, ldy, bias, kept, to == n);
}

/* All of w with one strip, as much of whose rows at a time as stays in L1 with what comes of w. */
TARGET EVERY_ISA void NAME(pass_of)(const size_t R, const enum wtype type, float *y, size_t ldy,
                                    const x_type *x, const unsigned char *w, size_t n_out,
                                    size_t n_in, const float *bias, const unsigned char *after) {
    const size_t outs = R <= 5 ? 1 : TALL_OUTS, stride = n_in * 2,
                 parts = 1 + R * stride / (PASS_X + 1);
    const size_t part = (n_in + parts * STEP - 1) / (parts * STEP) * STEP;
    vec kept[CHUNK_OUTS * TALL_ROWS];
    for (size_t o = 0, n; o < n_out; o += n) {
        n = n_out - o < CHUNK_OUTS ? n_out - o : CHUNK_OUTS;
        for (size_t from = 0, to; from < n_in; from = to) {
            to = n_in - from < part ? n_in : from + part;
            for (size_t i = 0, O; i < n; i += O) {
                O = n - i < outs ? 1 : outs;
                const unsigned char *at = w + (o + i) * stride, *next = at + O * stride + from * 2;
                if (i + O == n)
                    next = to < n_in       ? w + o * stride + to * 2
                           : o + n < n_out ? w + (o + n) * stride
                                           : after;
#define PASSING(O)                                                                                 \
    NAME(passing)                                                                                  \
    (R, O, type, y + o + i, ldy, x, at, next, stride, from, to, n_in, bias ? bias + o + i : NULL,  \
     kept + i * R)
                if (O == 1)
                    PASSING(1);
                else
                    PASSING(outs);
#undef PASSING
            }
        }
    }
}
#define PASS(R)                                                                                    \
    TARGET __attribute__((noinline)) static void NAME(pass_##R)(                                   \
        float *y, size_t ldy, const x_type *x, const unsigned char *w, size_t n_out, size_t n_in,  \
        const float *bias, const unsigned char *after) {                                           \
        NAME(pass_of)(R, W_BF16, y, ldy, x, w, n_out, n_in, bias, after);                          \
    }
PASS(2) PASS(3) PASS(4) PASS(5) PASS(6) PASS(7) PASS(8)
#undef PASS
