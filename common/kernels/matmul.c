/* Matrix multiplication: y = x W^T + bias, with W as it lies in the mapping.
 *
 * Few rows: every weight is read once, from memory, straight into the multiply-add (direct). Many rows: a block of
 * outputs is unpacked part by part of k into a panel that stays in the L2 cache, and multiplied with a block of rows
 * whose sums wait in the L2 cache too. Both add in the same order (matmul_tile.h), so where one ends and
 * the other begins is a matter of speed alone.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "kernels/table.h"
#include "kernels/vec.h"

/* A panel's part of k is short enough that ROWS rows of x and OUTS of the panel stay in an L1 cache of 32 KB; panel
 * and sums together fit POOL_SCRATCH. Outputs come in multiples of every tile's OUTS and OUTS_1. */
enum {
    PANEL_OUTS = 24,
    PANEL_BYTES = 2048, // of each output: 512 f32 or 1,024 bf16
    LINE = 64,          // rows of a panel stand one cache line more apart, lest all fall into the same sets
    BLOCK_ROWS = 128,
    DIRECT_ROWS = 12,       // up to here the direct way is faster, where weights have to be unpacked
    DIRECT_BYTES = 1 << 19, // of weights a piece, where there are enough of them
    X_BYTES = 1 << 18,      // of rows of x that go together
    ALL_TILES = 12,         // a multiple of every tile's ROWS, OUTS and OUTS_1
};

struct matmul_job {
    const struct matmul_ops *ops;
    float *y; // [n_rows, n_out], stride ldy
    size_t ldy;
    const void *x; // [n_rows, n_in], stride ldx, ops->x_size bytes an element
    size_t ldx, n_rows;
    const unsigned char *w; // [n_out, n_in]
    size_t w_stride;        // bytes of a row
    size_t n_in, n_out;
    const float *bias;
    struct pool *pool;
};

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

/* Outputs for one block of rows after another: a block's part of x stays in the L2 cache, and so do the weights. */
static void run_direct(void *arg, size_t begin, size_t end, size_t thread) {
    const struct matmul_job *j = arg;
    size_t block = round_up(1 + X_BYTES / (j->ldx * j->ops->x_size), ALL_TILES);
    (void)thread;
    for (size_t r = 0; r < j->n_rows; r += block)
        j->ops->direct(j->y + r * j->ldy + begin, j->ldy, (const unsigned char *)j->x + r * j->ldx * j->ops->x_size,
                       j->ldx, j->n_rows - r < block ? j->n_rows - r : block, j->w + begin * j->w_stride, end - begin,
                       j->n_in, j->bias ? j->bias + begin : NULL);
}

/* A panel's worth of outputs for one block of rows after another. During the last block the weights of the panel behind it,
 * which this thread most likely takes next, are fetched: a batch of few rows would wait for memory otherwise. */
static void run_panel(void *arg, size_t begin, size_t end, size_t thread) {
    const struct matmul_job *j = arg;
    unsigned char *panel = pool_scratch(j->pool, thread);
    float *acc = (float *)(void *)(panel + PANEL_OUTS * (PANEL_BYTES + LINE));
    size_t part_size = PANEL_BYTES / j->ops->x_size, panel_ld = (PANEL_BYTES + LINE) / j->ops->x_size;
    size_t n_out = end - begin, w_size = j->w_stride / j->n_in, left = j->n_out - end;
    for (size_t r = 0; r < j->n_rows; r += BLOCK_ROWS) {
        bool last = j->n_rows - r <= BLOCK_ROWS;
        size_t rows = last ? j->n_rows - r : BLOCK_ROWS;
        for (size_t k = 0; k < j->n_in; k += part_size) {
            size_t n = j->n_in - k < part_size ? j->n_in - k : part_size;
            int part = (k == 0 ? MATMUL_FIRST : 0) | (k + n == j->n_in ? MATMUL_LAST : 0);
            const unsigned char *w = j->w + begin * j->w_stride + k * w_size;
            struct matmul_ahead ahead = {w + n_out * j->w_stride, j->w_stride, w_size, 0};
            if (last)
                ahead.n_rows = left < n_out ? left : n_out;
            j->ops->unpack(panel, panel_ld, w, j->w_stride, n_out, n);
            j->ops->panel(part, j->y + r * j->ldy + begin, j->ldy,
                          (const unsigned char *)j->x + (r * j->ldx + k) * j->ops->x_size, j->ldx, rows, panel,
                          panel_ld, n_out, n, j->bias ? j->bias + begin : NULL, acc, ahead);
        }
    }
}

struct rounding_job {
    uint16_t *to;
    const float *x;
    size_t ld_to, ldx, n_in;
};
static void run_rounding(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rounding_job *j = arg;
    (void)thread;
    for (size_t r = begin; r < end; r++)
        kernel.round_bf16(j->to + r * j->ld_to, j->x + r * j->ldx, j->n_in);
}

static size_t rounded_ld(size_t n_in) {
    return ((n_in + 31) / 32 | 1) * 32; // an odd number of cache lines: rows fall into different sets
}

size_t matmul_scratch(size_t n_rows, size_t n_in) {
    return n_rows * rounded_ld(n_in) * sizeof(uint16_t);
}

void matmul(struct pool *p, float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, const struct mat *w,
            const float *bias, bool precise, void *scratch) {
    enum wtype type = w->dtype == DT_F32 ? W_F32 : w->dtype == DT_F16 ? W_F16 : W_BF16;
    struct matmul_job j = {.ops = &kernel.matmul[type], .y = y, .ldy = ldy, .x = x, .ldx = ldx, .n_rows = n_rows,
                           .w = w->data, .w_stride = w->n_in * (type == W_F32 ? 4 : 2), .n_in = w->n_in,
                           .n_out = w->n_out,
                           .bias = bias, .pool = p};
    if (n_rows == 0 || w->n_out == 0)
        return;
    if (type == W_BF16 && !precise && kernel.matmul_rounded.direct) {
        struct rounding_job rounding = {scratch, x, rounded_ld(w->n_in), ldx, w->n_in};
        pool_run(p, run_rounding, &rounding, n_rows, 1 + 16384 / w->n_in);
        j.ops = &kernel.matmul_rounded;
        j.x = scratch;
        j.ldx = rounding.ld_to;
    }
    if (n_rows <= DIRECT_ROWS || j.ops == &kernel.matmul_rounded) {
        size_t piece = w->n_out / (pool_threads(p) * 4);
        piece = piece * j.w_stride > DIRECT_BYTES ? DIRECT_BYTES / j.w_stride : piece;
        pool_run(p, run_direct, &j, w->n_out, round_up(1 + piece, ALL_TILES));
    } else
        pool_run(p, run_panel, &j, w->n_out, PANEL_OUTS);
}
