/* Matrix multiplication: y = x W^T + bias, with W as it lies in the mapping.
 *
 * Threads take pieces of W, a run of its rows, and multiply them with all rows of x. One row: every weight is read once, from
 * memory, straight into the multiply-add. Many rows: those of a block stay in the L2 cache, and so does the piece of W,
 * from which a tile of registers takes a few rows at a time (matmul_tile.h; tiles.c says why it has its size). Where W has
 * to be made f32 and that is not free, many rows of x find it unpacked.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "kernels/table.h"
#include "kernels/vec.h"

enum {
    PIECE_BYTES = 1 << 19,  // of weights, where there are enough for PIECES pieces a thread
    PIECES = 4,             // what is left over when one thread is done is small enough
    X_BYTES = 1 << 18,      // of rows of x that go together
    ALL_TILES = 12,         // a multiple of every tile's ROWS, OUTS and OUTS_1
    UNPACK_ROWS = 9,        // from so many rows of x on, weights are unpacked
    UNPACK_OUTS = 24,       // as many at a time, or as fit POOL_SCRATCH
};

struct matmul_job {
    matmul_fn *multiply;
    void (*unpack)(float *to, const unsigned char *w, size_t n); // NULL: not first
    float *y;            // [n_rows, n_out], stride ldy
    size_t ldy;
    const unsigned char *x; // [n_rows, n_in], stride ldx, x_size bytes an element
    size_t ldx, n_rows, x_size;
    const unsigned char *w; // [n_out, n_in]
    size_t w_stride;        // bytes of a row
    size_t n_in;
    const float *bias;
    struct pool *pool;
};

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

static void run_piece(void *arg, size_t begin, size_t end, size_t thread) {
    const struct matmul_job *j = arg;
    const unsigned char *w = j->w + begin * j->w_stride;
    size_t block = round_up(1 + X_BYTES / (j->ldx * j->x_size), ALL_TILES);
    if (j->unpack) {
        float *to = pool_scratch(j->pool, thread);
        j->unpack(to, w, (end - begin) * j->n_in);
        w = (const unsigned char *)to;
    }
    for (size_t r = 0; r < j->n_rows; r += block)
        j->multiply(j->y + r * j->ldy + begin, j->ldy, j->x + r * j->ldx * j->x_size, j->ldx,
                    j->n_rows - r < block ? j->n_rows - r : block, w, end - begin, j->n_in,
                    j->bias ? j->bias + begin : NULL);
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
    struct matmul_job j = {.multiply = kernel.matmul[type], .y = y, .ldy = ldy, .x = (const unsigned char *)x, .ldx = ldx,
                           .n_rows = n_rows, .x_size = sizeof *x, .w = w->data,
                           .w_stride = w->n_in * (type == W_F32 ? 4 : 2), .n_in = w->n_in, .bias = bias, .pool = p};
    if (n_rows == 0 || w->n_out == 0)
        return;
    size_t piece = w->n_out / (pool_threads(p) * PIECES);
    if (piece * j.w_stride > PIECE_BYTES)
        piece = PIECE_BYTES / j.w_stride;
    piece = round_up(1 + piece, ALL_TILES);
    if (type == W_BF16 && !precise && kernel.matmul_rounded) {
        struct rounding_job rounding = {scratch, x, rounded_ld(w->n_in), ldx, w->n_in};
        pool_run(p, run_rounding, &rounding, n_rows, 1 + 16384 / w->n_in);
        j.multiply = kernel.matmul_rounded;
        j.x = scratch;
        j.ldx = rounding.ld_to;
        j.x_size = sizeof(uint16_t);
    } else if (n_rows >= UNPACK_ROWS && kernel.unpack[type] && w->n_in * sizeof(float) <= POOL_SCRATCH) {
        size_t fit = POOL_SCRATCH / (w->n_in * sizeof(float));
        piece = fit < UNPACK_OUTS ? fit : UNPACK_OUTS;
        j.unpack = kernel.unpack[type];
        j.multiply = kernel.matmul[W_F32];
    }
    pool_run(p, run_piece, &j, w->n_out, piece);
}
