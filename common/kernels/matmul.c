/* Matrix multiplication: y = x W^T + bias, with W as it lies in the mapping.
 *
 * Threads take pieces of W, a run of its rows, and multiply them with all rows of x. One row: every
 * weight is read once, from memory, straight into the multiply-add. A few: the same, while x stays
 * in L1 (matmul_pass.h). Many rows: a tile of registers (tiles.c says why it has its size) takes a
 * few of x, which stay in L1, through a chunk of W, which stays in L2 with a block of x
 * (matmul_tile.h). The next chunk is fetched from memory meanwhile: reading and multiplying go on
 * side by side. Where W has to be made f32 and that is not free, many rows of x find it unpacked.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "kernels/table.h"
#include "kernels/approx.h"

enum {
    PIECE_BYTES = 1 << 19, // of weights, where there are enough for PIECES pieces a thread,
    PIECE_BYTES_2 =
        1
        << 22, // or so many where several rows are one block: the longer, the more is fetched ahead
    PIECES = 4,            // what is left over when one thread is done is small enough
    X_BYTES = 3 << 17,     // of rows of x in a block
    ALL_TILES = 12,        // a multiple of every tile's ROWS, OUTS and OUTS_1
    LEAST_PIECE = 24,      // outputs of the last pieces, where there are several rows of x,
    LEAST_BYTES = 1 << 16, // or bytes of weights, where there is one
    UNPACK_ROWS = 9,       // from so many rows of x on, weights are unpacked
    UNPACK_OUTS = 24,      // as many at a time, or as fit UNPACK_BYTES
    SMALL_PAGE = 4096,
    CACHE_LINE = 64,
    UNPACK_BYTES = POOL_SCRATCH / 2, // of a thread's scratch, for those of a piece,
    GATED_BYTES = POOL_SCRATCH / 2   // and for the outputs of its `up`
};

/* x [n_rows, n_in] as it was given, and rounded to bf16, in strips (NULL: weights in BF16 are
 * multiplied with f32 too). */
struct matmul_job {
    const struct product *products;
    size_t n_products;
    const float *x;
    const uint16_t *rounded;
    size_t ldx, n_rows, n_in;
    struct pool *pool;
};

static enum wtype type_of(const struct mat *w) {
    return w->layout == MAT_F32 ? W_F32 : w->layout == MAT_F16 ? W_F16 : W_BF16;
}
/* Whether many rows of f32 x find w unpacked. */
static bool unpacks(const struct matmul_job *j, const struct mat *w) {
    return !(type_of(w) == W_BF16 && j->rounded) && j->n_rows >= UNPACK_ROWS &&
           kernel.unpack[type_of(w)] && j->n_in * sizeof(float) <= UNPACK_BYTES;
}

static size_t block_rows(size_t n_in, size_t x_size) {
    return n_in * x_size > ROW_BYTES ? CUT_ROWS
                                     : round_up_size(1 + X_BYTES / (n_in * x_size), ALL_TILES);
}

/* y [n_rows, end - begin] (stride ldy) = x times outputs [begin, end) of w. The first block of x
 * finds w cold; `next` is what this thread multiplies then. */
static void run_outputs(const struct matmul_job *j, float *y, size_t ldy, const struct mat *mat,
                        const float *bias, size_t begin, size_t end, size_t thread,
                        struct rows_of_w next) {
    bool is_rounded = type_of(mat) == W_BF16 && j->rounded, unpacked = unpacks(j, mat);
    matmul_fn *multiply =
        is_rounded ? kernel.matmul_rounded : kernel.matmul[unpacked ? W_F32 : type_of(mat)];
    size_t x_size = is_rounded ? sizeof *j->rounded : sizeof *j->x,
           ldx = is_rounded ? round_up_size(j->n_in, SIDE) : j->ldx;
    const unsigned char *x = is_rounded ? (const void *)j->rounded : (const void *)j->x;
    const unsigned char *w = (const unsigned char *)mat->data + begin * mat->row_bytes;
    size_t block = block_rows(j->n_in, x_size);
    if (unpacked) {
        float *to = pool_scratch(j->pool, thread);
        kernel.unpack[type_of(mat)](to, w, (end - begin) * j->n_in);
        w = (const unsigned char *)to;
    }
    for (size_t r = 0; r < j->n_rows; r += block) {
        bool last = j->n_rows - r <= block;
        struct cold cold = {r == 0 && !unpacked, last && !unpacked ? next : (struct rows_of_w){0}};
        multiply(y + r * ldy, ldy, x + r * ldx * x_size, ldx, last ? j->n_rows - r : block, w,
                 end - begin, j->n_in, bias ? bias + begin : NULL, cold);
    }
}

static struct rows_of_w rows_of(const struct mat *w, size_t begin, size_t end) {
    end = end < w->n_out ? end : w->n_out;
    return (struct rows_of_w){(const unsigned char *)w->data + begin * w->row_bytes,
                              begin < end ? end - begin : 0};
}

/* Outputs [begin, end) of one product, while they are in a cache also what is done with them. The
 * thread goes on with what follows, as a rule; where it doesn't, at the end of its share, pieces
 * are small. */
static void run_product(const struct matmul_job *j, const struct product *p, size_t begin,
                        size_t end, size_t thread) {
    size_t n = end - begin;
    float *y = p->y + begin, *up = (float *)((unsigned char *)pool_scratch(j->pool, thread) +
                                             UNPACK_BYTES); // [n_rows, n]
    struct rows_of_w following = rows_of(p->w, end, end + n);
    run_outputs(j, y, p->ldy, p->w, p->bias, begin, end, thread,
                p->up ? rows_of(p->up, begin, end) : following);
    if (p->up) {
        run_outputs(j, up, n, p->up, p->up_bias, begin, end, thread, following);
        kernel.activate_mul(*p->act, y, p->ldy, up, n, j->n_rows, n);
    } else if (p->act) {
        kernel.activate(*p->act, y, p->ldy, j->n_rows, n);
    }
}

/* The products' outputs are counted on, one product behind the other. */
static void run_piece(void *arg, size_t begin, size_t end, size_t thread) {
    const struct matmul_job *j = arg;
    for (size_t i = 0, first = 0, n_out; i < j->n_products && first < end; i++, first += n_out) {
        n_out = j->products[i].w->n_out;
        size_t from = begin > first ? begin - first : 0,
               to = end - first < n_out ? end - first : n_out;
        if (from < to)
            run_product(j, &j->products[i], from, to, thread);
    }
}

struct rounding_job {
    uint16_t *to;
    const float *x;
    size_t ld_to, ldx, n_in, n_rows;
    size_t
        whole; // strips of STRIP_ROWS in blocks that are full; the rest are those of the last block
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

/* Where in scratch rounded x begins: half a page from where w does in its page. A load of x one
 * cache line ahead of w's, by their places in a page, costs one row a seventh of memory's rate
 * (measured on Zen 4). */
static void *place_of_x(void *scratch, const void *w) {
    size_t apart = (uintptr_t)w + SMALL_PAGE / 2 - (uintptr_t)scratch;
    return (unsigned char *)scratch + apart % SMALL_PAGE / CACHE_LINE * CACHE_LINE;
}

size_t matmul_scratch(size_t n_rows, size_t n_in) {
    return n_rows * round_up_size(n_in, SIDE) * sizeof(uint16_t) + SMALL_PAGE;
}

/* x rounded, where a product wants it so. */
static const uint16_t *rounded_x(struct pool *p, const struct mat *w, const float *x, size_t ldx,
                                 size_t n_rows, void *scratch) {
    size_t n_in = w->n_in, last = n_rows % block_rows(n_in, sizeof(uint16_t)),
           whole = (n_rows - last) / STRIP_ROWS;
    struct rounding_job rounding = {
        place_of_x(scratch, w->data), x, round_up_size(n_in, SIDE), ldx, n_in, n_rows, whole};
    pool_run(p, run_rounding, &rounding, whole + strips_of(last), 1 + 8192 / (n_in * STRIP_ROWS));
    return rounding.to;
}

/* What products have in common that decides on pieces. */
struct sizes {
    size_t n_out, row_bytes,
        out_bytes; // of all; most of a row of w; most of all weights for an output
    bool unpacked, gated;
};

/* Outputs of a piece, and of the last ones: many enough to be one stream and to fetch ahead, few
 * enough to end together. */
static size_t piece_of(const struct matmul_job *j, const struct sizes *s, size_t *least) {
    size_t n = s->n_out / (pool_threads(j->pool) * PIECES), multiple = ALL_TILES,
           most = PIECE_BYTES / s->row_bytes;
    *least = round_up_size(1 + LEAST_BYTES / s->out_bytes, ALL_TILES);
    if (j->n_rows > 1) {
        bool one_block =
            j->n_rows <= block_rows(j->n_in, j->rounded ? sizeof *j->rounded : sizeof *j->x);
        most = (one_block ? PIECE_BYTES_2 : PIECE_BYTES) / s->out_bytes;
        multiple = n > CHUNK_OUTS ? CHUNK_OUTS : ALL_TILES;
        *least = LEAST_PIECE;
    }
    n = round_up_size(1 + (n < most ? n : most), multiple);
    if (s->unpacked) {
        most = UNPACK_BYTES / (j->n_in * sizeof(float));
        n = most < UNPACK_OUTS ? most : UNPACK_OUTS;
    }
    most = s->gated ? GATED_BYTES / (j->n_rows * sizeof(float)) : n;
    return n < most ? n : most;
}

void matmul_many(struct pool *p, const struct product *products, size_t n, const float *x,
                 size_t ldx, size_t n_rows, bool precise, void *scratch) {
    struct matmul_job j = {products, n, x, NULL, ldx, n_rows, products->w->n_in, p};
    struct sizes sizes = {0};
    for (size_t i = 0; i < n && n_rows > 0; i++) {
        const struct mat *both[] = {products[i].w, products[i].up};
        size_t bytes = 0;
        for (size_t k = 0; k < 2 && both[k]; k++) {
            if (type_of(both[k]) == W_BF16 && !j.rounded && !precise && kernel.matmul_rounded)
                j.rounded = rounded_x(p, both[k], x, ldx, n_rows, scratch);
            sizes.row_bytes = larger(sizes.row_bytes, both[k]->row_bytes);
            sizes.unpacked = sizes.unpacked || unpacks(&j, both[k]);
            bytes += both[k]->row_bytes;
        }
        sizes.n_out += products[i].w->n_out;
        sizes.out_bytes = larger(sizes.out_bytes, bytes);
        sizes.gated = sizes.gated || products[i].up;
    }
    if (sizes.n_out == 0)
        return;
    size_t least, piece = piece_of(&j, &sizes, &least);
    pool_run_pieces(p, run_piece, &j, sizes.n_out, piece, least);
}

void matmul(struct pool *p, float *y, size_t ldy, const float *x, size_t ldx, size_t n_rows,
            const struct mat *w, const float *bias, bool precise, void *scratch) {
    struct product product = {.y = y, .ldy = ldy, .w = w, .bias = bias};
    matmul_many(p, &product, 1, x, ldx, n_rows, precise, scratch);
}
