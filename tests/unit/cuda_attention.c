/* common/backend/cuda/attention.cu and attention_f32.cu: random shapes against a plain reference in
 * double, and the same bits however the rows are cut into tiles and the positions into blocks.
 *
 * Where no position is, pages are full of NaN, and so are the table's words for pages that no row
 * sees.
 *
 * The reference rounds what the kernels round: q * scale, and e^(score - maximum of the page). The
 * tolerance is the sum of
 *   - the scores' error, `off`: 16 products at a time are added in no less than 2^-22 of their
 *     largest sum (2^-24 in f32), and softcap has 4e-7 of the cap. It affects every weight, and the
 *     sum that divides them;
 *   - a weight so near the middle between two bf16 numbers that `off` decides: 2^-7 of it;
 *   - the sums over positions: 2^-22 of the sum of |weight * value| for each 16 positions, and for
 *     each join of pages and spans;
 *   - the output's rounding: 2^-8 in bf16, 2^-11 in f16.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "../lib/cuda_dev.h"
#include "kernels/approx.h"

static uint64_t random_state = 88172645463325252u;
static uint32_t below(uint32_t n) { // xorshift64 (Marsaglia 2003)
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32) % n;
}
static float random_float(void) { // [-1, 1)
    return (float)below(1u << 24) * 0x1p-23f - 1.0f;
}
static uint32_t round_up(uint32_t n, uint32_t to) {
    return (n + to - 1) / to * to;
}

enum { MAX_SEQS = 4, MAX_ROWS = 64 };
struct layer { // what a test attends to
    uint32_t head_dim, pad, n_kv_heads, group, window /* 0: none */, out_type;
    uint32_t later; // positions after its own that a row sees, of those there are
    bool f32;
    float scale, softcap;
    uint32_t n_seqs, len[MAX_SEQS], n_new[MAX_SEQS],
        seq_row[MAX_SEQS]; // the last n_new positions are the step's rows
    uint32_t n_rows, n_pages, max_spans, ldq, ld_out, kv_group;
    float *k[MAX_SEQS], *v[MAX_SEQS]; // [len, n_kv_heads, head_dim], as they are in the pages
    float *q;                         // [n_rows, ldq]
    struct cu_row *rows;
    uint32_t *words, n_words;
    size_t page_bytes;
    struct dev_buf pages, q_dev;
    struct dev_step step; // the header and the tiles are each launch's own
};

static uint32_t heads(const struct layer *l) {
    return l->n_kv_heads * l->group;
}

/* ---- the layer's data ---- */

static void put(unsigned char *page, bool f32, size_t i, float f) {
    uint16_t h = bf16_from_f32(f);
    if (f32)
        memcpy(page + 4 * i, &f, 4);
    else
        memcpy(page + 2 * i, &h, 2);
}
static void fill_page(const struct layer *l, unsigned char *page, uint32_t seq, uint32_t first) {
    memset(page, 0xFF, l->page_bytes);
    for (uint32_t h = 0; h < l->n_kv_heads; h++)
        for (uint32_t p = 0; p < CU_KV_PAGE; p++)
            for (uint32_t d = 0; d < l->pad; d++) {
                size_t of_head = (size_t)h * 2 * CU_KV_PAGE * l->pad,
                       at = ((size_t)(first + p) * l->n_kv_heads + h) * l->head_dim + d;
                bool is = d < l->head_dim && first + p < l->len[seq];
                float k = is                ? l->k[seq][at]
                          : d < l->head_dim ? NAN
                                            : 0,
                      v = is                ? l->v[seq][at]
                          : d < l->head_dim ? NAN
                                            : 0;
                put(page, l->f32, of_head + (size_t)p * l->pad + d, k);
                put(page, l->f32, of_head + (size_t)(l->pad + d) * CU_KV_PAGE + p, v);
            }
}
static uint32_t first_seen(const struct layer *l, uint32_t pos) {
    return l->window && pos + 1 > l->window ? pos + 1 - l->window : 0;
}

/* The pages of all sequences, shuffled; the words of a sequence begin with the first page that a
 * row of it sees. */
static void make_pages(struct layer *l) {
    uint32_t n_pages = 3, *order;
    for (uint32_t s = 0; s < l->n_seqs; s++)
        n_pages += (l->len[s] - 1) / CU_KV_PAGE + 1;
    order = xcalloc(n_pages, sizeof *order);
    for (uint32_t i = 0; i < n_pages; i++) {
        uint32_t j = below(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    l->page_bytes = (size_t)l->n_kv_heads * 2 * CU_KV_PAGE * l->pad * (l->f32 ? 4 : 2);
    size_t stride = l->page_bytes + 256;
    unsigned char *pages = xmalloc(n_pages * stride);
    memset(pages, 0xFF, n_pages * stride);
    l->words = xcalloc(n_pages + MAX_SEQS, sizeof *l->words);
    for (uint32_t s = 0, next = 0; s < l->n_seqs; s++) {
        uint32_t first = first_seen(l, l->len[s] - l->n_new[s]) / CU_KV_PAGE,
                 last = (l->len[s] - 1) / CU_KV_PAGE;
        l->words[l->n_words++] = 0xFFFFFFF0;
        for (uint32_t i = 0; i < l->n_new[s]; i++) {
            struct cu_row *r = &l->rows[l->seq_row[s] + i];
            r->pos = l->len[s] - l->n_new[s] + i;
            r->first[l->kv_group] = first_seen(l, r->pos);
            r->last[l->kv_group] =
                r->pos + l->later < l->len[s] ? r->pos + l->later : l->len[s] - 1;
            r->table[l->kv_group] = l->n_words - first;
            r->first[1 - l->kv_group] = r->last[1 - l->kv_group] = r->table[1 - l->kv_group] =
                0x7FFFFFFF;
        }
        for (uint32_t p = first; p <= last; p++) {
            l->words[l->n_words++] = order[next];
            fill_page(l, pages + order[next++] * stride, s, p * CU_KV_PAGE);
        }
    }
    l->n_pages = n_pages;
    l->pages = dev_new(pages, n_pages * stride);
    free(pages);
    free(order);
}

static float stored(const struct layer *l, float f) {
    return l->f32 ? f : f32_from_bf16(bf16_from_f32(f));
}
static void layer_make(struct layer *l) {
    uint32_t hd = l->head_dim;
    l->pad = round_up(hd, 16);
    l->kv_group = below(2);
    for (uint32_t s = 0; s < l->n_seqs; s++) {
        size_t n = (size_t)l->len[s] * l->n_kv_heads * hd;
        l->seq_row[s] = l->n_rows;
        l->n_rows += l->n_new[s];
        l->k[s] = xcalloc(n, sizeof(float));
        l->v[s] = xcalloc(n, sizeof(float));
        for (size_t i = 0; i < n; i++) {
            l->k[s][i] = stored(l, random_float());
            l->v[s][i] = stored(l, random_float() + (below(64) == 0 ? 8 : 0));
        }
        uint32_t spans = (l->len[s] - 1) / (CU_SPAN_PAGES * CU_KV_PAGE) + 1;
        l->max_spans = spans > l->max_spans ? spans : l->max_spans;
    }
    l->ldq = round_up((heads(l) + 2 * l->n_kv_heads) * hd, 4);
    l->ld_out = round_up(heads(l) * hd, CU_PAD);
    l->q = xcalloc((size_t)l->n_rows * l->ldq, sizeof(float));
    for (size_t i = 0; i < (size_t)l->n_rows * l->ldq; i++)
        l->q[i] = 4 * random_float();
    l->rows = xcalloc(l->n_rows, sizeof *l->rows);
    make_pages(l);
    l->q_dev = dev_new(l->q, (size_t)l->n_rows * l->ldq * 4);
    l->step = dev_step(l->rows, l->n_rows, 0, l->words, l->n_words);
}
static void layer_free(struct layer *l) {
    for (uint32_t s = 0; s < l->n_seqs; s++) {
        free(l->k[s]);
        free(l->v[s]);
    }
    free(l->q);
    free(l->rows);
    free(l->words);
    dev_free(&l->pages);
    dev_free(&l->q_dev);
    dev_step_free(&l->step);
}

/* ---- one launch ---- */

/* Rows cut into tiles of one sequence: as many as fit, at random, or one. */
enum cut { CUT_MOST, CUT_RANDOM, CUT_ONE };
static uint32_t cut_tiles(const struct layer *l, enum cut cut, struct cu_tile *tiles) {
    uint32_t most = l->group > CU_QUERIES ? 1 : CU_QUERIES / l->group, n = 0;
    for (uint32_t s = 0; s < l->n_seqs; s++)
        for (uint32_t r = 0; r < l->n_new[s];) {
            uint32_t take = cut == CUT_MOST  ? most
                            : cut == CUT_ONE ? 1
                                             : 1 + below(most),
                     left = l->n_new[s] - r;
            tiles[n] = (struct cu_tile){l->seq_row[s] + r, take < left ? take : left};
            r += tiles[n++].n;
        }
    return n;
}

static size_t out_bytes(const struct layer *l) {
    return (size_t)round_up(l->n_rows, CU_TILE) * l->ld_out * (l->out_type == CU_F32 ? 4 : 2);
}

static void launch_rounded(const struct layer *l, uint32_t grid, uint32_t slots,
                           const struct cu_attend_args *a) {
    struct err e = {0};
    char name[40];
    bool known = l->pad == 64 || l->pad == 96 || l->pad == 128 || l->pad == 256;
    struct cu_shape shape = {
        .x = grid, .y = l->n_kv_heads, .z = slots, .threads = 128, .early = true};
    if (!slots) {
        shape.x = (grid + 3) / 4;
        shape.z = 1;
        shape.shared = CU_ATTEND_MANY_SHARED(l->pad);
    }
    snprintf(name, sizeof name, known ? "k_attend_%s_%u" : "k_attend_%s_any",
             slots ? "few" : "many", l->pad);
    const struct cu_kernel *k = cu_kernel(dev, name, shape.shared, &e);
    dev_must(k ? 0 : -1, &e);
    cu_launch(dev, k, shape, a);
}
/* The output of these tiles; slots 0: attend_many. To be freed. */
static void *launch(const struct layer *l, const struct cu_tile *tiles, uint32_t n_tiles,
                    uint32_t slots) {
    uint32_t grid = n_tiles + below(3), of_group = (l->group + CU_QUERIES - 1) / CU_QUERIES;
    struct cu_header h = {.n_rows = l->n_rows, .n_tiles = n_tiles};
    size_t counters = (size_t)n_tiles * l->n_kv_heads;
    uint32_t *zeros = xcalloc(counters, sizeof *zeros);
    struct dev_buf header = dev_new(&h, sizeof h),
                   tiles_dev = dev_new(tiles, n_tiles * sizeof *tiles);
    struct dev_buf out = dev_new(NULL, out_bytes(l)),
                   count = dev_new(zeros, counters * sizeof *zeros);
    struct dev_buf partial = dev_new(NULL, counters * of_group * l->max_spans * CU_QUERIES *
                                               (l->pad + 2) * sizeof(float));
    struct cu_attend_args a = {
        .step = {header.p, l->step.step.rows, tiles_dev.p, l->step.step.words},
        .q = l->q_dev.p,
        .ldq = l->ldq,
        .n_heads = heads(l),
        .scale = l->scale,
        .softcap = l->softcap,
        .kv = {.base = l->pages.p,
               .page_stride = l->page_bytes + 256,
               .n_kv_heads = l->n_kv_heads,
               .head_dim = l->head_dim,
               .pad = l->pad,
               .f32 = l->f32,
               .group = l->kv_group},
        .out = out.p,
        .out_type = l->out_type,
        .ld_out = l->ld_out,
        .partial = partial.p,
        .counters = count.p,
        .max_spans = l->max_spans};
    if (l->f32)
        dev_launch("k_attend_f32", grid, l->n_kv_heads, CU_THREADS, &a);
    else
        launch_rounded(l, grid, slots, &a);
    void *got = dev_read(&out);
    uint32_t *left = dev_read(&count);
    CHECK_MSG(memcmp(left, zeros, counters * sizeof *zeros) == 0, "a counter is not zero");
    free(left);
    free(zeros);
    dev_free(&header);
    dev_free(&tiles_dev);
    dev_free(&out);
    dev_free(&count);
    dev_free(&partial);
    return got;
}

/* ---- the reference ---- */

static size_t place(const struct layer *l, uint32_t row, uint32_t k) {
    return l->out_type == CU_F32 ? (size_t)row * l->ld_out + k : cu_x_at(row, k, l->ld_out);
}
static double value(const struct layer *l, const void *out, size_t i) {
    uint16_t h;
    if (l->out_type == CU_F32)
        return (double)((const float *)out)[i];
    h = ((const uint16_t *)out)[i];
    return (double)(l->out_type == CU_BF16 ? f32_from_bf16(h) : f32_from_f16(h));
}
static double rounded(const struct layer *l, double p) {
    return l->f32 ? p : (double)f32_from_bf16(bf16_from_f32((float)p));
}

/* One query: out and its tolerance [head_dim]. */
static void reference(const struct layer *l, uint32_t seq, uint32_t row, uint32_t head, double *out,
                      double *tolerance) {
    uint32_t hd = l->head_dim, first = first_seen(l, l->rows[row].pos),
             n = l->rows[row].last[l->kv_group] + 1 - first;
    double *s = xcalloc(n, sizeof *s), *off = xcalloc(n, sizeof *off), max = -INFINITY, sum = 0,
           worst = 0;
    const float *k = l->k[seq] + (size_t)head / l->group * hd,
                *v = l->v[seq] + (size_t)head / l->group * hd;
    size_t ld = (size_t)l->n_kv_heads * hd;
    for (uint32_t i = 0; i < n; i++) {
        double all = 0;
        for (uint32_t d = 0; d < hd; d++) {
            double x =
                (double)stored(l, l->q[(size_t)row * l->ldq + (size_t)head * hd + d] * l->scale) *
                (double)k[(first + i) * ld + d];
            s[i] += x;
            all += fabs(x);
        }
        off[i] = l->f32 ? (hd + 2) * 0x1p-24 * all : (l->pad / 16 + 1) * 0x1p-22 * all;
        if (l->softcap > 0) {
            s[i] = (double)l->softcap * tanh(s[i] / (double)l->softcap);
            off[i] += 4e-7 * (double)l->softcap;
        }
        off[i] += 3e-7 + fabs(s[i]) * 0x1p-23; // e^x, and the difference from the maximum
        worst = off[i] > worst ? off[i] : worst;
        max = s[i] > max ? s[i] : max;
    }
    for (uint32_t d = 0; d < hd; d++)
        out[d] = tolerance[d] = 0;
    double *sizes = xcalloc(hd, sizeof *sizes);
    for (uint32_t begin = 0, end; begin < n; begin = end) {
        double page_max = -INFINITY;
        end = (first + begin) / CU_KV_PAGE * CU_KV_PAGE + CU_KV_PAGE - first;
        end = end < n ? end : n;
        for (uint32_t i = begin; i < end; i++)
            page_max = s[i] > page_max ? s[i] : page_max;
        for (uint32_t i = begin; i < end; i++) {
            double p = exp(s[i] - page_max), factor = exp(page_max - max),
                   w = rounded(l, p) * factor;
            bool either =
                rounded(l, p * (1 - 2 * worst)) != rounded(l, p * (1 + 2 * worst)) && !l->f32;
            sum += p * factor;
            for (uint32_t d = 0; d < hd; d++) {
                double x = (double)v[(first + i) * ld + d];
                out[d] += w * x;
                sizes[d] += w * fabs(x);
                tolerance[d] += either ? 0x1p-7 * w * fabs(x) : 0;
            }
        }
    }
    uint32_t n_pages = n / CU_KV_PAGE + 2;
    double steps = l->f32 ? n + 3.0 * n_pages + 8 : 4 * n_pages + 4.0 * n_pages + 16,
           unit = l->f32 ? 0x1p-24 : 0x1p-22;
    double last = l->out_type == CU_BF16 ? 0x1p-8 : l->out_type == CU_F16 ? 0x1p-11 : 0x1p-23;
    for (uint32_t d = 0; d < hd; d++) {
        out[d] /= sum;
        tolerance[d] = (tolerance[d] + sizes[d] * (4 * worst + steps * unit)) / sum;
        tolerance[d] +=
            last * (fabs(out[d]) + tolerance[d]) + (l->out_type == CU_F16 ? 0x1p-25 : 0);
    }
    free(sizes);
    free(s);
    free(off);
}

static void check_values(const struct layer *l, const void *out, const char *what) {
    uint32_t hd = l->head_dim, rows = round_up(l->n_rows, CU_TILE),
             size = l->out_type == CU_F32 ? 4 : 2;
    double *want = xcalloc(hd, sizeof *want), *tolerance = xcalloc(hd, sizeof *tolerance);
    unsigned wrong = 0;
    for (uint32_t s = 0; s < l->n_seqs; s++)
        for (uint32_t r = l->seq_row[s]; r < l->seq_row[s] + l->n_new[s]; r++)
            for (uint32_t h = 0; h < heads(l); h++) {
                reference(l, s, r, h, want, tolerance);
                for (uint32_t d = 0; d < hd; d++) {
                    double got = value(l, out, place(l, r, h * hd + d));
                    if (!(fabs(got - want[d]) <= tolerance[d]) && wrong++ < 3)
                        CHECK_MSG(0, "%s: row %u head %u dimension %u: %.9g, not %.9g within %.3g",
                                  what, r, h, d, got, want[d], tolerance[d]);
                }
            }
    for (uint32_t r = 0; r < rows; r++)
        for (uint32_t k = r < l->n_rows ? heads(l) * hd : 0; k < l->ld_out; k++) {
            const unsigned char *at = (const unsigned char *)out + place(l, r, k) * size;
            for (uint32_t i = 0; i < size && wrong < 3; i++)
                if (at[i] != (r < l->n_rows ? 0 : 0xFF) && wrong++ < 3)
                    CHECK_MSG(0, "%s: row %u of %u: element %u was %s", what, r, l->n_rows, k,
                              r < l->n_rows ? "not set to zero" : "written");
        }
    free(want);
    free(tolerance);
}

/* ---- tests ---- */

static void same(const struct layer *l, const char *what, const void *want, void *got,
                 const char *how) {
    CHECK_MSG(memcmp(want, got, out_bytes(l)) == 0, "%s: %s has other bits", what, how);
    free(got);
}

/* A row by itself: row 0 of a step of its own. */
static void alone(const struct layer *l, const char *what, const void *want, uint32_t slots) {
    struct layer one = *l;
    uint32_t row = below(l->n_rows), size = l->out_type == CU_F32 ? 4 : 2, differ = 0;
    one.n_rows = 1;
    one.q_dev = dev_new(l->q + (size_t)row * l->ldq, l->ldq * sizeof(float));
    one.step = dev_step(&l->rows[row], 1, 0, l->words, l->n_words);
    char *got = launch(&one, &(struct cu_tile){0, 1}, 1, slots);
    for (uint32_t k = 0; k < l->ld_out; k++)
        differ += memcmp((const char *)want + place(l, row, k) * size,
                         got + place(&one, 0, k) * size, size) != 0;
    CHECK_MSG(differ == 0, "%s: row %u alone differs in %u elements", what, row, differ);
    free(got);
    dev_free(&one.q_dev);
    dev_step_free(&one.step);
}

static void try(struct layer *l) {
    struct cu_tile tiles[MAX_ROWS];
    char what[160];
    layer_make(l);
    snprintf(what, sizeof what,
             "%s head_dim %u, %u heads of %u, window %u, softcap %g, length %u (+%u) of %u",
             l->f32 ? "f32" : "bf16", l->head_dim, l->n_kv_heads, l->group, l->window,
             (double)l->softcap, l->len[0], l->n_new[0], l->n_seqs);
    uint32_t n = cut_tiles(l, CUT_MOST, tiles);
    void *out = launch(l, tiles, n, l->f32 ? 1 : 0);
    check_values(l, out, what);
    if (l->f32) {
        n = cut_tiles(l, CUT_RANDOM, tiles);
        same(l, what, out, launch(l, tiles, n, 1), "another cut into tiles");
    } else {
        same(l, what, out, launch(l, tiles, n, 1 + below(l->max_spans + 2)), "attend_few");
        n = cut_tiles(l, CUT_ONE, tiles);
        same(l, what, out, launch(l, tiles, n, 1 + below(3)), "attend_few with a row a tile");
        n = cut_tiles(l, CUT_RANDOM, tiles);
        same(l, what, out, launch(l, tiles, n, below(2) * l->max_spans), "another cut into tiles");
        alone(l, what, out, 0);
    }
    alone(l, what, out, 1 + below(l->max_spans));
    free(out);
    layer_free(l);
}

/* n_seqs sequences; of `most` positions and rows at most. */
static struct layer random_layer(uint32_t head_dim, uint32_t n_kv_heads, uint32_t group,
                                 uint32_t n_seqs, uint32_t most, uint32_t rows) {
    struct layer l = {.head_dim = head_dim,
                      .n_kv_heads = n_kv_heads,
                      .group = group,
                      .n_seqs = n_seqs,
                      .out_type = below(3)};
    l.scale = (0.5f + (float)below(4)) / sqrtf((float)head_dim);
    l.scale *= below(4) ? 1 : 40; // pages that weigh nothing beside others
    l.softcap = below(3) ? 0 : 3 + (float)below(40);
    l.window = below(2) ? 0 : 1 + below(most);
    l.later = below(3) ? 0 : below(most);
    for (uint32_t s = 0; s < n_seqs; s++) {
        l.len[s] = 1 + below(most);
        l.n_new[s] = 1 + below(l.len[s] < rows ? l.len[s] : rows);
    }
    return l;
}

static const uint32_t groups[] = {1, 3, 4, 8, 24};
static void shapes(bool f32, const uint32_t *dims, size_t n_dims) {
    for (size_t i = 0; i < n_dims; i++)
        for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
            struct layer l = random_layer(dims[i], 1 + below(2), groups[g], 1 + below(3), 300,
                                          groups[g] > 4 ? 5 : 12);
            l.f32 = f32;
            try(&l);
        }
}
static void bf16_shapes(void) {
    static const uint32_t dims[] = {7, 8, 12, 16, 48, 64, 80, 96, 128, 160, 256};
    shapes(false, dims, sizeof dims / sizeof *dims);
}
static void f32_shapes(void) {
    static const uint32_t dims[] = {7, 8, 64, 80, 128, 300};
    shapes(true, dims, sizeof dims / sizeof *dims);
}
static void long_sequences(void) {
    static const uint32_t dims[] = {16, 64, 80, 128, 256};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int k = 0; k < 2; k++) {
            struct layer l = random_layer(dims[i], 1, k ? 4 : 1, 2, 1500, 3);
            l.len[0] = 1500 - below(300);
            try(&l);
        }
    struct layer l = random_layer(64, 1, 4, 1, 1500, 3), wide = random_layer(496, 1, 4, 2, 300, 3);
    l.f32 = true;
    try(&l);
    try(&wide); // the most that k_attend_many_any has shared memory for on every GPU
}
/* Every length about the ends of pages and spans, and windows that end there. */
static void edges(void) {
    static const uint32_t lens[] = {1,   2,   63,  64,  65,  127, 128, 129,
                                    255, 256, 257, 320, 511, 512, 513};
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        for (uint32_t w = 0; w < 3; w++) {
            struct layer l = random_layer(8, 1, 2, 1, 4, 4);
            l.len[0] = lens[i];
            l.n_new[0] = lens[i] < 8 ? lens[i] : 8;
            l.window = w == 0 ? 0 : w == 1 ? 64 : 1 + below(5);
            try(&l);
        }
}

int main(int argc, char **argv) {
    (void)argc;
    dev_open(argv);
    RUN(bf16_shapes);
    RUN(edges);
    RUN(long_sequences);
    RUN(f32_shapes);
    cu_close(dev);
    return check_done();
}
