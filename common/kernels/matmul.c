/* Matrix multiplication: y = x W^T + bias, with W as it is in the mapping.
 *
 * This file cuts the work; kernels (matmul.h) do it. Threads take pieces, each a run of rows of W,
 * and multiply them with all rows of x, a block at a time. While the outputs of a piece are in a
 * cache, they are also activated and multiplied by those of `up`.
 *
 * One row of x: every weight is read once, straight from memory into the multiply-add. Many rows: a
 * tile of registers takes a few rows of x through a chunk of W, both in caches, and what comes next
 * is prefetched, so that reading and multiplying go on side by side (matmul_tmpl.h). Where W has to
 * be widened to f32 and that is not free, many rows of x find a piece of it widened. A quantised
 * layout without a kernel is always widened (widen.c).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "base/mem.h"
#include "kernels/table.h"
#include "kernels/widen.h"
#include "weights/panel_i8.h"

enum {
    SMALL_PAGE = 4096, // bytes of a page, and of a cache line
    CACHE_LINE = 64,
    WIDEN_BYTES = POOL_SCRATCH / 2, // of a thread's scratch, for a piece of W widened,
    UP_BYTES = POOL_SCRATCH / 2,    // and for its outputs of `up`
    // Rows of x whose outputs of a panel of `up` fit there. More go in turns.
    MOST_ROWS = UP_BYTES / (PANEL_ROWS * sizeof(float)),
    MOST_ORDERS = 2, // orders of the inputs in one job: of W and of `up`
    MOST_PACKED = 2 * MAT_LAYOUTS
};
_Static_assert(MAT_QUANT_IN * sizeof(float) <= WIDEN_BYTES, "a row of a quantised matrix");
_Static_assert((size_t)MATMUL_SCRATCH <= (size_t)WIDEN_BYTES,
               "what kernels have where W is not widened");

/* x as kernels with this pack_x want it. */
struct packed {
    void (*pack_x)(const struct matmul_pack *p, size_t begin, size_t end);
    const uint32_t *order; // of the inputs, see struct mat_quant; or NULL
    const unsigned char *x;
};

struct matmul_job {
    const struct matmul_product *products;
    size_t n_products, n_in;
    const struct matmul_input *in;
    struct packed packed[MOST_PACKED];
    size_t n_packed;
    struct pool *pool;
};

static const uint32_t *order_of(const struct mat *w) {
    return w->quant ? w->quant->order : NULL;
}
static bool same_order(const uint32_t *a, const uint32_t *b, size_t n_in) {
    return a == b || (a && b && memcmp(a, b, n_in * sizeof *a) == 0);
}

/* The kernel of packed x that multiplies w with n_rows; NULL if there is none. */
static const struct matmul_kernel *own_kernel(const struct mat *w, size_t n_rows) {
    const struct matmul_kernel *k = &kernel.matmul_own[w->layout];
    if (n_rows < k->least_rows)
        k = &kernel.matmul_few[w->layout];
    return k->multiply && (!k->takes || k->takes(w)) ? k : NULL;
}

/* x packed for w; NULL: it is not. */
static const unsigned char *packed_for(const struct matmul_job *j, const struct mat *w) {
    const struct matmul_kernel *k = j->n_packed > 0 ? own_kernel(w, j->in->n_rows) : NULL;
    for (size_t i = 0; k && i < j->n_packed; i++)
        if (j->packed[i].pack_x == k->pack_x &&
            same_order(j->packed[i].order, order_of(w), j->n_in))
            return j->packed[i].x;
    return NULL;
}

/* The kernel that multiplies w. */
static const struct matmul_kernel *kernel_of(const struct matmul_job *j, const struct mat *w) {
    return packed_for(j, w) ? own_kernel(w, j->in->n_rows) : &kernel.matmul[w->layout];
}
/* Whether a piece of w is widened first. */
static bool widens(const struct matmul_job *j, const struct mat *w) {
    const struct matmul_kernel *k = kernel_of(j, w);
    return !k->multiply ||
           (k->widen && j->in->n_rows >= kernel.widen_rows && j->n_in <= kernel.widen_n_in);
}

/* Rows [begin, end) of w as f32. */
static void widen_piece(const struct matmul_kernel *k, float *to, const struct mat *w, size_t begin,
                        size_t end) {
    if (k->multiply)
        k->widen(to, mat_at(w, begin), (end - begin) * w->n_in);
    else
        widen_rows(to, w, begin, end);
}

/* Rows of w that no piece divides. */
static size_t panel_rows(const struct matmul_job *j, const struct mat *w) {
    return larger(kernel_of(j, w)->panel_rows, 1);
}

/* Bytes of a row of x as the kernel reads it. */
static size_t x_row_bytes(const struct matmul_kernel *k, size_t n_in) {
    return k->x_bytes ? k->x_bytes(1, n_in) : n_in * sizeof(float);
}
/* Rows of x that go through W together. */
static size_t block_rows(const struct matmul_kernel *k, size_t n_in) {
    if (k->block_rows)
        return k->block_rows(n_in);
    size_t row = x_row_bytes(k, n_in);
    return row > MATMUL_X_ROW_BYTES ? MATMUL_BLOCK_ROWS
                                    : round_up_size(1 + MATMUL_BLOCK_BYTES / row, MATMUL_ALL_TILES);
}

/* ---- Pieces ---- */

/* A run of outputs of one matrix. */
struct run {
    const struct mat *mat;
    const float *bias;       // of all outputs of mat, or NULL
    size_t begin, end;       // outputs
    struct matmul_rows next; // what this thread multiplies then
};

static struct matmul_rows rows_of(const struct mat *w, size_t begin, size_t end) {
    end = end < w->n_out ? end : w->n_out;
    return (struct matmul_rows){mat_at(w, begin), begin < end ? end - begin : 0, w->row_bytes};
}
/* The same bytes in shorter rows: where W is widened piece by piece, all of the next piece is
 * prefetched, not just the first part of each row. */
static struct matmul_rows short_rows(struct matmul_rows r) {
    const size_t n = r.n * r.row_bytes / MATMUL_X_ROW_BYTES;
    return (struct matmul_rows){r.data, n, MATMUL_X_ROW_BYTES};
}

/* y [n_rows, end - begin] (stride ldy). Only the first block of x finds W in no cache. */
static void run_outputs(const struct matmul_job *j, float *y, size_t ldy, const struct run *run,
                        size_t thread) {
    const struct mat *mat = run->mat;
    const struct matmul_kernel *k = kernel_of(j, mat);
    const bool widened = widens(j, mat);
    if (widened && (run->end - run->begin) * j->n_in > WIDEN_BYTES / sizeof(float)) {
        // A piece that is larger for the panels of another product.
        const size_t fit = WIDEN_BYTES / (j->n_in * sizeof(float));
        for (struct run part = *run; part.begin < run->end; part.begin = part.end) {
            part.end = run->end - part.begin < fit ? run->end : part.begin + fit;
            run_outputs(j, y + (part.begin - run->begin), ldy, &part, thread);
        }
        return;
    }
    const unsigned char *w = mat_at(mat, run->begin);
    if (widened) {
        float *to = pool_scratch(j->pool, thread);
        widen_piece(k, to, mat, run->begin, run->end);
        w = (const unsigned char *)to;
        k = &kernel.matmul[MAT_F32];
    }
    const size_t n_rows = j->in->n_rows, block = block_rows(k, j->n_in);
    struct matmul_part part = {.ldy = ldy,
                               .ldx = j->in->ldx,
                               .n_out = run->end - run->begin,
                               .n_in = j->n_in,
                               .w = w,
                               .bias = run->bias ? run->bias + run->begin : NULL,
                               .quant = mat->quant,
                               .first = mat->first + run->begin,
                               .scratch = pool_scratch(j->pool, thread)};
    const unsigned char *packed = k->pack_x ? packed_for(j, mat) : NULL;
    for (size_t r = 0; r < n_rows; r += block) {
        const bool last = n_rows - r <= block;
        part.y = y + r * ldy;
        part.x = k->pack_x ? (const void *)(packed + k->x_bytes(r, j->n_in))
                           : (const void *)(j->in->x + r * j->in->ldx);
        part.n_rows = last ? n_rows - r : block;
        part.w_is_cold = r == 0 && !widened;
        part.next = (struct matmul_rows){0};
        if (last)
            part.next = widened ? short_rows(run->next) : run->next;
        k->multiply(&part);
    }
}

/* Outputs [begin, end) of one product. As a rule the thread goes on with the rows after them. At
 * the end of its share it does not, but there pieces are small. */
static void run_product(const struct matmul_job *j, const struct matmul_product *p, size_t begin,
                        size_t end, size_t thread) {
    const size_t n = end - begin, n_rows = j->in->n_rows;
    unsigned char *scratch = pool_scratch(j->pool, thread);
    float *y = p->y + begin, *up = (float *)(void *)(scratch + WIDEN_BYTES); // up [n_rows, n]
    const struct matmul_rows after = rows_of(p->w, end, end + n);
    run_outputs(
        j, y, p->ldy,
        &(struct run){p->w, p->bias, begin, end, p->up ? rows_of(p->up, begin, end) : after},
        thread);
    if (p->up) {
        run_outputs(j, up, n, &(struct run){p->up, p->up_bias, begin, end, after}, thread);
        kernel.rows.activate_mul(p->act, y, p->ldy, up, n, n_rows, n);
    } else if (p->act != ACT_NONE) {
        kernel.rows.activate(p->act, y, p->ldy, n_rows, n);
    }
}

/* Panels are not cut: one that begins before output n, counted from any piece's end, is done by the
 * piece that its first output is in. */
static size_t whole_panels(const struct matmul_job *j, const struct matmul_product *p, size_t n) {
    size_t rows = panel_rows(j, p->w);
    rows = p->up ? larger(rows, panel_rows(j, p->up)) : rows;
    n = round_up_size(n, rows);
    return n < p->w->n_out ? n : p->w->n_out;
}

/* Items are the outputs of all products, one product after the other. */
static void run_piece(void *arg, size_t begin, size_t end, size_t thread) {
    const struct matmul_job *j = arg;
    for (size_t i = 0, first = 0; i < j->n_products && first < end; i++) {
        const struct matmul_product *p = &j->products[i];
        const size_t from = whole_panels(j, p, begin > first ? begin - first : 0),
                     to = whole_panels(j, p, end - first);
        if (from < to)
            run_product(j, p, from, to, thread);
        first += p->w->n_out;
    }
}

/* What products have in common that decides on the size of pieces. */
struct sizes {
    size_t n_out;     // of all products
    size_t row_bytes; // the largest of a row of W
    size_t out_bytes; // the largest of all weights of an output: of W and of up
    size_t x_row_bytes;
    bool one_block; // all rows of x go through W together
    bool widened, gated, panels;
};

static void add_product(const struct matmul_job *j, struct sizes *s,
                        const struct matmul_product *p) {
    const struct mat *both[] = {p->w, p->up};
    size_t bytes = 0;
    for (size_t i = 0; i < 2 && both[i]; i++) {
        const struct matmul_kernel *k = kernel_of(j, both[i]);
        const size_t x_row = x_row_bytes(k, j->n_in);
        // The smallest rows of x decide: they are those of the packed kernels.
        if (s->x_row_bytes == 0 || x_row < s->x_row_bytes) {
            s->x_row_bytes = x_row;
            s->one_block = j->in->n_rows <= block_rows(k, j->n_in);
        }
        s->row_bytes = larger(s->row_bytes, both[i]->row_bytes);
        s->widened = s->widened || widens(j, both[i]);
        s->panels = s->panels || panel_rows(j, both[i]) > 1;
        bytes += both[i]->row_bytes;
    }
    s->n_out += p->w->n_out;
    s->out_bytes = larger(s->out_bytes, bytes);
    s->gated = s->gated || p->up;
}

/* Outputs of a piece, and of the last ones (*least). Pieces are long enough to be one stream and to
 * prefetch ahead, and short enough that threads end together. */
static size_t piece_outs(const struct matmul_job *j, const struct sizes *s, size_t *least) {
    const size_t n_rows = j->in->n_rows;
    size_t n = s->n_out / (pool_threads(j->pool) * MATMUL_PIECES), multiple = MATMUL_ALL_TILES,
           most = MATMUL_PIECE_BYTES / s->row_bytes;
    *least = round_up_size(1 + MATMUL_LEAST_BYTES / s->out_bytes, MATMUL_ALL_TILES);
    if (n_rows > 1) {
        most = (s->one_block ? MATMUL_PIECE_BYTES_FEW : MATMUL_PIECE_BYTES) / s->out_bytes;
        multiple = n > MATMUL_CHUNK_OUTS ? MATMUL_CHUNK_OUTS : MATMUL_ALL_TILES;
        *least = MATMUL_LEAST_OUTS;
    }
    n = round_up_size(1 + (n < most ? n : most), multiple);
    if (s->widened) {
        most = WIDEN_BYTES / (j->n_in * sizeof(float));
        most -= most > MATMUL_ALL_TILES ? most % MATMUL_ALL_TILES : 0;
        n = most < MATMUL_WIDEN_OUTS ? most : MATMUL_WIDEN_OUTS;
    }
    most = s->gated ? UP_BYTES / (n_rows * sizeof(float)) : n;
    n = n < most ? n : most;
    if (s->panels) { // a piece of whole panels is not longer than it says
        n = n > PANEL_ROWS ? n - n % PANEL_ROWS : PANEL_ROWS;
        *least = round_up_size(*least, PANEL_ROWS);
    }
    return n;
}

/* ---- Packing x ---- */

/* Items are the panels of all blocks. All blocks but the last are full. */
struct packing_job {
    const struct matmul_kernel *k;
    const struct matmul_input *in;
    unsigned char *to;
    size_t n_in, block, panels; // of x; rows of a block; panels of a full one
    const uint32_t *order;      // of the inputs, or NULL
};

static void run_packing(void *arg, size_t begin, size_t end, size_t thread) {
    const struct packing_job *j = arg;
    const size_t blocks = (j->in->n_rows + j->block - 1) / j->block;
    (void)thread;
    for (size_t b = begin / j->panels; b < blocks && b * j->panels < end; b++) {
        const size_t r = b * j->block, left = j->in->n_rows - r, first = b * j->panels,
                     n_rows = left < j->block ? left : j->block, n = j->k->n_panels(n_rows);
        struct matmul_pack pack = {.to = j->to + j->k->x_bytes(r, j->n_in),
                                   .x = j->in->x + r * j->in->ldx,
                                   .ldx = j->in->ldx,
                                   .n_rows = n_rows,
                                   .n_in = j->n_in,
                                   .order = j->order};
        j->k->pack_x(&pack, begin > first ? begin - first : 0, end - first < n ? end - first : n);
    }
}

static void pack(struct pool *p, struct packing_job *j) {
    const struct matmul_kernel *k = j->k;
    j->block = block_rows(k, j->n_in);
    j->panels = k->n_panels(j->block);
    const size_t whole = j->in->n_rows / j->block, last = j->in->n_rows % j->block;
    pool_run(p, run_packing, j, whole * j->panels + (last > 0 ? k->n_panels(last) : 0),
             1 + MATMUL_PACK_FLOATS * j->panels / (j->n_in * j->block));
}

/* Packed x begins half a page from where w does in its page. If a load of x is one cache line ahead
 * of w's load, by their places in a page, one row loses a seventh of memory's rate (Zen 4). */
static unsigned char *place_of_x(void *scratch, const void *w) {
    size_t apart = (uintptr_t)w + SMALL_PAGE / 2 - (uintptr_t)scratch;
    return (unsigned char *)scratch + apart % SMALL_PAGE / CACHE_LINE * CACHE_LINE;
}

/* The first layout whose kernel packs x as that of `layout` does: they share it. */
static size_t packed_as(const struct matmul_kernel *of_layouts, size_t layout) {
    size_t i = 0;
    while (of_layouts[i].pack_x != of_layouts[layout].pack_x)
        i++;
    return i;
}

/* Packs x for w's kernel, if that is wanted. `used`: bytes of scratch so far. */
static void pack_for(struct matmul_job *j, const struct mat *w, size_t *used) {
    const struct matmul_kernel *k = j->in->precise ? NULL : own_kernel(w, j->in->n_rows);
    if (!k || j->in->n_rows == 0 || packed_for(j, w))
        return;
    unsigned char *to = place_of_x((unsigned char *)j->in->scratch + *used, w->data);
    pack(j->pool, &(struct packing_job){
                      .k = k, .in = j->in, .to = to, .n_in = j->n_in, .order = order_of(w)});
    j->packed[j->n_packed++] = (struct packed){k->pack_x, order_of(w), to};
    *used += k->x_bytes(j->in->n_rows, j->n_in) + SMALL_PAGE;
}

/* Adds the bytes of n_rows as the kernels of all layouts pack them. False if they overflow. */
static bool add_scratch(size_t *all, const struct matmul_kernel *of_layouts, size_t n_rows,
                        size_t n_in) {
    for (size_t i = 0; i < MAT_LAYOUTS; i++) {
        const struct matmul_kernel *k = &of_layouts[i];
        // Each pack_x once, and those of layouts that have orders of inputs for each order.
        const size_t times =
            (packed_as(of_layouts, i) == i ? 1u : 0u) + (i == MAT_G4 ? (size_t)MOST_ORDERS : 0);
        for (size_t t = 0; k->x_bytes && t < times; t++)
            if (!add_size(*all, k->x_bytes(n_rows, n_in), all) || !add_size(*all, SMALL_PAGE, all))
                return false;
    }
    return true;
}

size_t matmul_scratch(size_t n_rows, size_t n_in) {
    size_t all = SMALL_PAGE, few = 0;
    for (size_t i = 0; i < MAT_LAYOUTS; i++)
        few = larger(few, kernel.matmul_own[i].least_rows);
    few = n_rows < few ? n_rows : few;
    return add_scratch(&all, kernel.matmul_own, n_rows, n_in) &&
                   add_scratch(&all, kernel.matmul_few, few, n_in)
               ? all
               : SIZE_MAX;
}

static void multiply_all(struct pool *p, const struct matmul_product *products, size_t n,
                         const struct matmul_input *in) {
    struct matmul_job j = {products, n, products->w->n_in, in, {{0}}, 0, p};
    struct sizes sizes = {0};
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        pack_for(&j, products[i].w, &used);
        if (products[i].up)
            pack_for(&j, products[i].up, &used);
    }
    for (size_t i = 0; i < n; i++)
        add_product(&j, &sizes, &products[i]);
    if (sizes.n_out == 0 || in->n_rows == 0)
        return;
    size_t least, piece = piece_outs(&j, &sizes, &least);
    pool_run_pieces(p, run_piece, &j, sizes.n_out, piece, least);
}

/* Whether the products have more orders of the inputs than scratch has room for. */
static bool many_orders(const struct matmul_product *products, size_t n) {
    const uint32_t *seen[MOST_ORDERS];
    size_t n_seen = 0;
    for (size_t i = 0; i < 2 * n; i++) {
        const struct mat *w = i % 2 ? products[i / 2].up : products[i / 2].w;
        const uint32_t *order = w ? order_of(w) : NULL;
        size_t i_seen = 0;
        while (order && i_seen < n_seen && !same_order(seen[i_seen], order, w->n_in))
            i_seen++;
        if (!order || i_seen < n_seen)
            continue;
        if (n_seen == MOST_ORDERS)
            return true;
        seen[n_seen++] = order;
    }
    return false;
}

void matmul(struct pool *p, const struct matmul_product *products, size_t n,
            const struct matmul_input *in) {
    if (n > 1 && many_orders(products, n)) {
        for (size_t i = 0; i < n; i++)
            matmul(p, &products[i], 1, in);
        return;
    }
    if (in->n_rows <= MOST_ROWS) {
        multiply_all(p, products, n, in);
        return;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t r = 0; r < in->n_rows; r += MOST_ROWS) {
            struct matmul_product product = products[i];
            struct matmul_input part = *in;
            product.y += r * product.ldy;
            part.x += r * part.ldx;
            part.n_rows = in->n_rows - r < MOST_ROWS ? in->n_rows - r : MOST_ROWS;
            multiply_all(p, &product, 1, &part);
        }
}
