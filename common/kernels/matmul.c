/* Matrix multiplication: y = x W^T + bias, with W as it lies in the mapping.
 *
 * Threads take pieces of W, a run of its rows, and multiply them with all rows of x. One row: every weight is read once, from
 * memory, straight into the multiply-add. A few: the same, while x stays in L1 (matmul_pass.h). Many rows: a tile of registers
 * (tiles.c says why it has its size) takes a few of x, which stay in L1, through a chunk of W, which stays in L2 with a block of x
 * (matmul_tile.h). The next chunk is fetched from memory meanwhile: reading and multiplying go on side by side. Where W has to be
 * made f32 and that is not free, many rows of x find it unpacked.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "kernels/table.h"
#include "kernels/vec.h"

enum {
    PIECE_BYTES = 1 << 19,   // of weights, where there are enough for PIECES pieces a thread,
    PIECE_BYTES_2 = 1 << 22, // or so many where several rows are one block: the longer, the more is fetched ahead
    PIECES = 4,              // what is left over when one thread is done is small enough
    X_BYTES = 3 << 17,       // of rows of x in a block
    ALL_TILES = 12,          // a multiple of every tile's ROWS, OUTS and OUTS_1
    LEAST_PIECE = 24,        // outputs of the last pieces, where there are several rows of x,
    LEAST_BYTES = 1 << 16,   // or bytes of weights, where there is one
    UNPACK_ROWS = 9,         // from so many rows of x on, weights are unpacked
    UNPACK_OUTS = 24,        // as many at a time, or as fit POOL_SCRATCH
    SMALL_PAGE = 4096,
    CACHE_LINE = 64
};

struct matmul_job {
    const struct product *products;
    size_t n_products;
    matmul_fn *multiply;
    void (*unpack)(float *to, const unsigned char *w, size_t n); // NULL: not first
    const unsigned char *x; // [n_rows, n_in], stride ldx, x_size bytes an element
    size_t ldx, n_rows, x_size, n_in;
    size_t w_size; // bytes of a weight
    struct pool *pool;
};

static size_t round_up(size_t n, size_t to) {
    return (n + to - 1) / to * to;
}

static size_t block_rows(const struct matmul_job *j) {
    return j->n_in * j->x_size > ROW_BYTES ? CUT_ROWS : round_up(1 + X_BYTES / (j->ldx * j->x_size), ALL_TILES);
}

/* Outputs [begin, end) of one product. The first block of x finds w cold. The thread goes on with what follows, as a rule;
 * where it doesn't, at the end of its share, pieces are small. */
static void run_outputs(const struct matmul_job *j, const struct product *p, size_t begin, size_t end, size_t thread) {
    const unsigned char *w = (const unsigned char *)p->w->data + begin * j->n_in * j->w_size;
    size_t block = block_rows(j), n = end - begin, left = p->w->n_out - end, next = left < n ? left : n;
    if (j->unpack) {
        float *to = pool_scratch(j->pool, thread);
        j->unpack(to, w, n * j->n_in);
        w = (const unsigned char *)to;
    }
    for (size_t r = 0; r < j->n_rows; r += block) {
        bool last = j->n_rows - r <= block;
        struct cold cold = {r == 0 ? 0 : n, last ? n + next : n};
        j->multiply(p->y + r * p->ldy + begin, p->ldy, j->x + r * j->ldx * j->x_size, j->ldx, last ? j->n_rows - r : block,
                    w, n, j->n_in, p->bias ? p->bias + begin : NULL, j->unpack ? (struct cold){0} : cold);
    }
}

/* The products' outputs are counted on, one product behind the other. */
static void run_piece(void *arg, size_t begin, size_t end, size_t thread) {
    const struct matmul_job *j = arg;
    for (size_t i = 0, first = 0, n_out; i < j->n_products && first < end; i++, first += n_out) {
        n_out = j->products[i].w->n_out;
        size_t from = begin > first ? begin - first : 0, to = end - first < n_out ? end - first : n_out;
        if (from < to)
            run_outputs(j, &j->products[i], from, to, thread);
    }
}

struct rounding_job {
    uint16_t *to;
    const float *x;
    size_t ld_to, ldx, n_in, n_rows;
    size_t whole; // strips of STRIP_ROWS in blocks that are full; the rest are those of the last block
};
static void run_rounding(void *arg, size_t begin, size_t end, size_t thread) {
    const struct rounding_job *j = arg;
    size_t all = j->whole + strips_of(j->n_rows - j->whole * STRIP_ROWS);
    (void)thread;
    for (size_t i = 0, r = 0, n; i < end; i++, r += n) {
        n = i < j->whole ? STRIP_ROWS : strip_rows(j->n_rows - r, all - i);
        if (i >= begin)
            kernel.round_bf16(j->to + r * j->ld_to, j->x + r * j->ldx, j->ldx, n, j->n_in);
    }
}

/* Where in scratch rounded x begins: half a page from where w does in its page. A load of x one cache line ahead of w's, by their
 * places in a page, costs one row a seventh of memory's rate (measured on Zen 4). */
static void *place_of_x(void *scratch, const void *w) {
    size_t apart = (uintptr_t)w + SMALL_PAGE / 2 - (uintptr_t)scratch;
    return (unsigned char *)scratch + apart % SMALL_PAGE / CACHE_LINE * CACHE_LINE;
}

size_t matmul_scratch(size_t n_rows, size_t n_in) {
    return n_rows * round_up(n_in, SIDE) * sizeof(uint16_t) + SMALL_PAGE;
}

static enum wtype type_of(const struct mat *w) {
    return w->dtype == DT_F32 ? W_F32 : w->dtype == DT_F16 ? W_F16 : W_BF16;
}

/* All products have weights of one type. */
static void multiply_all(struct pool *p, const struct product *products, size_t n, const float *x, size_t ldx,
                         size_t n_rows, bool precise, void *scratch) {
    enum wtype type = type_of(products->w);
    size_t n_in = products->w->n_in, n_out = 0;
    struct matmul_job j = {.products = products, .n_products = n, .multiply = kernel.matmul[type],
                           .x = (const unsigned char *)x, .ldx = ldx, .n_rows = n_rows, .x_size = sizeof *x, .n_in = n_in,
                           .w_size = type == W_F32 ? 4 : 2, .pool = p};
    for (size_t i = 0; i < n; i++)
        n_out += products[i].w->n_out;
    if (n_rows == 0 || n_out == 0)
        return;
    if (type == W_BF16 && !precise && kernel.matmul_rounded) {
        j.ldx = round_up(n_in, SIDE);
        j.x_size = sizeof(uint16_t);
        size_t last = n_rows % block_rows(&j), whole = (n_rows - last) / STRIP_ROWS;
        struct rounding_job rounding = {place_of_x(scratch, products->w->data), x, j.ldx, ldx, n_in, n_rows, whole};
        pool_run(p, run_rounding, &rounding, whole + strips_of(last), 1 + 8192 / (n_in * STRIP_ROWS));
        j.multiply = kernel.matmul_rounded;
        j.x = (const unsigned char *)rounding.to;
    }
    size_t piece = n_out / (pool_threads(p) * PIECES), multiple = n_rows > 1 && piece > CHUNK_OUTS ? CHUNK_OUTS : ALL_TILES;
    size_t most = (n_rows > 1 && n_rows <= block_rows(&j) ? PIECE_BYTES_2 : PIECE_BYTES) / (n_in * j.w_size + 1);
    piece = round_up(1 + (piece < most ? piece : most), multiple);
    if (j.x_size == sizeof(float) && n_rows >= UNPACK_ROWS && kernel.unpack[type] && n_in * sizeof(float) <= POOL_SCRATCH) {
        size_t fit = POOL_SCRATCH / (n_in * sizeof(float));
        piece = fit < UNPACK_OUTS ? fit : UNPACK_OUTS;
        j.unpack = kernel.unpack[type];
        j.multiply = kernel.matmul[W_F32];
    }
    size_t least = n_rows > 1 ? LEAST_PIECE : round_up(1 + LEAST_BYTES / (n_in * j.w_size), ALL_TILES);
    pool_run_pieces(p, run_piece, &j, n_out, piece, least);
}

void matmul_many(struct pool *p, const struct product *products, size_t n, const float *x, size_t ldx, size_t n_rows,
                 bool precise, void *scratch) {
    for (size_t i = 0, same; i < n; i += same) {
        for (same = 1; i + same < n && products[i + same].w->dtype == products[i].w->dtype;)
            same++;
        multiply_all(p, products + i, same, x, ldx, n_rows, precise, scratch);
    }
}

void matmul(struct pool *p, float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows, const struct mat *w,
            const float *bias, bool precise, void *scratch) {
    struct product product = {y, ldy, w, bias};
    matmul_many(p, &product, 1, x, ldx, n_rows, precise, scratch);
}
