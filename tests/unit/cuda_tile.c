/* common/backend/cuda/tile.cu and tile_wgmma.cu: the products of many rows have the bits of
 * few.cu's k_few32, for every epilogue, for any number of rows and outputs, and they write nothing
 * else. What few.cu computes is compared with the CPU by the golden models.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <math.h>

#include "../lib/cuda_dev.h"
#include "../lib/random.h"
#include "kernels/kernels.h"

enum { HEAD = 32, N_KV_HEADS = 2, POSITIONS = 4 * CU_KV_PAGE };

static uint32_t below(uint32_t n) {
    return (uint32_t)(random_bits() >> 20) % n;
}
static uint32_t over(uint32_t n, uint32_t each) {
    return (n + each - 1) / each;
}

/* A product, and all that it may write. */
struct product {
    struct cu_matmul_args a;
    bool f16;
    uint32_t rows;
    struct dev_step step;
    struct dev_buf x, w, bias, cosines, sines;
    size_t y_bytes, out_bytes, kv_bytes;
    void *y; // before
};
/* What it wrote. */
struct written {
    unsigned char *y, *out, *kv;
};

/* n elements of 2 bytes. */
static struct dev_buf elements(size_t n, bool f16, float scale) {
    uint16_t *p = xcalloc(n, sizeof *p);
    for (size_t i = 0; i < n; i++) {
        float f = random_float() * scale;
        p[i] = f16 ? f16_from_f32(f) : bf16_from_f32(f);
    }
    struct dev_buf b = dev_new(p, n * sizeof *p);
    free(p);
    return b;
}
static struct dev_buf floats(size_t n) {
    float *p = random_floats(n);
    struct dev_buf b = dev_new(p, n * sizeof *p);
    free(p);
    return b;
}

/* Rows of one sequence, at pages in another order. */
static struct dev_step rows_of(uint32_t n) {
    static const uint32_t pages[POSITIONS / CU_KV_PAGE] = {2, 0, 3, 1};
    struct cu_row *rows = xcalloc(n, sizeof *rows);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct cu_row){.pos = i % POSITIONS};
    struct dev_step s = dev_step(rows, n, n, pages, POSITIONS / CU_KV_PAGE);
    free(rows);
    return s;
}

/* x W^T for rows of x and n outputs (of each matrix), n_in products each. */
static struct product product(uint32_t rows, uint32_t n, uint32_t n_in, uint32_t epilogue,
                              bool f16) {
    uint32_t ld = over(n_in, CU_PAD) * CU_PAD, all = over(rows, CU_TILE) * CU_TILE;
    struct product p = {.f16 = f16, .rows = rows, .step = rows_of(rows)};
    struct cu_matmul_args *a = &p.a;
    *a = (struct cu_matmul_args){.step = p.step.step,
                                 .pairs = {.n_out = {n}, .n_mats = 1},
                                 .n_in = n_in,
                                 .ld_w = ld,
                                 .ldx = ld,
                                 .epilogue = epilogue,
                                 .ldy = n,
                                 .scale = 0.37f,
                                 .out_type = f16 ? CU_F16 : CU_BF16,
                                 .ld_out = over(n, CU_PAD) * CU_PAD,
                                 .act = CU_SILU};
    if (epilogue == CU_GATED) {
        a->pairs.pairing = CU_GATE_UP;
        a->pairs.n_out[1] = n;
        a->pairs.n_mats = 2;
    } else if (epilogue == CU_QKV) {
        a->pairs.pairing = CU_ROTATED;
        a->pairs.head_dim = HEAD;
        a->pairs.half = a->rotary_half = HEAD / 2;
        a->kv = (struct cu_kv){.page_stride = N_KV_HEADS * 2 * CU_KV_PAGE * HEAD * 2,
                               .n_kv_heads = N_KV_HEADS,
                               .head_dim = HEAD,
                               .pad = HEAD};
        a->n_heads = n / HEAD - 2 * N_KV_HEADS;
    }
    p.x = elements((size_t)all * ld, f16, 1);
    p.w = elements((size_t)cu_tiles_of(&a->pairs) * 16 * ld, f16, 0.2f);
    p.bias = floats(2 * (size_t)n);
    p.cosines = floats((size_t)rows * HEAD);
    p.sines = floats((size_t)rows * HEAD);
    a->x = p.x.p;
    a->packed = p.w.p;
    a->cosines = p.cosines.p;
    a->sines = p.sines.p;
    p.y_bytes = (size_t)rows * n * 4;
    p.out_bytes = (size_t)all * a->ld_out * 2;
    p.kv_bytes = epilogue == CU_QKV ? POSITIONS / CU_KV_PAGE * (size_t)a->kv.page_stride : 16;
    p.y = random_floats((size_t)rows * n);
    return p;
}
static void product_free(struct product *p) {
    dev_step_free(&p->step);
    dev_free(&p->x);
    dev_free(&p->w);
    dev_free(&p->bias);
    dev_free(&p->cosines);
    dev_free(&p->sines);
    free(p->y);
}

static void launch(const char *name, bool f16, struct cu_shape s, const void *args) {
    struct err e = {0};
    char whole[40];
    snprintf(whole, sizeof whole, "%s_%s", name, f16 ? "f16" : "bf16");
    const struct cu_kernel *k = cu_kernel(dev, whole, s.shared, &e);
    dev_must(k ? 0 : -1, &e);
    dev_last = name, dev_x = s.x, dev_y = s.y;
    s.early = true;
    cu_launch(dev, k, s, args);
}

static void run_few(const struct product *p, struct cu_matmul_args *a) {
    launch("k_few32", p->f16,
           (struct cu_shape){.x = 1 + below(cu_tiles_of(&a->pairs)),
                             .y = over(p->rows, 32),
                             .threads = CU_THREADS,
                             .shared = CU_FEW_SHARED(32u, CU_FEW_STAGES)},
           a);
}
static void run_tile(const struct product *p, struct cu_matmul_args *a) {
    launch("k_tile", p->f16,
           (struct cu_shape){.x = over(p->rows, CU_TILE),
                             .y = over(cu_tiles_of(&a->pairs), CU_TILE / 16),
                             .threads = CU_THREADS,
                             .shared = CU_TILE_SHARED},
           a);
}
static void run_wgmma(const struct product *p, struct cu_matmul_args *a) {
    unsigned all = over(over(p->rows, CU_TILE), CU_WGMMA_X) *
                   over(over(cu_tiles_of(&a->pairs), CU_WGMMA_OUTS / 16), CU_WGMMA_Y);
    launch("k_tile_wgmma", p->f16,
           (struct cu_shape){.x = (1 + below(all)) * CU_WGMMA_X * CU_WGMMA_Y,
                             .threads = CU_WGMMA_THREADS,
                             .shared = CU_WGMMA_SHARED},
           a);
}

static struct written run(const struct product *p,
                          void (*kernel)(const struct product *, struct cu_matmul_args *)) {
    struct cu_matmul_args a = p->a;
    struct dev_buf y = dev_new(p->y, p->y_bytes), out = dev_new(NULL, p->out_bytes),
                   kv = dev_new(NULL, p->kv_bytes);
    a.y = y.p;
    a.out = out.p;
    a.kv.base = kv.p;
    a.row_tiles = over(p->rows, CU_TILE);
    kernel(p, &a);
    struct written w = {dev_read(&y), dev_read(&out), dev_read(&kv)};
    dev_free(&y);
    dev_free(&out);
    dev_free(&kv);
    return w;
}
static void written_free(struct written *w) {
    free(w->y);
    free(w->out);
    free(w->kv);
}

static void same(const struct product *p, const struct written *want,
                 void (*kernel)(const struct product *, struct cu_matmul_args *), const char *name,
                 const char *what) {
    struct written got = run(p, kernel);
    CHECK_MSG(memcmp(got.y, want->y, p->y_bytes) == 0, "%s, %s, %u rows: y", name, what, p->rows);
    CHECK_MSG(memcmp(got.out, want->out, p->out_bytes) == 0, "%s, %s, %u rows: out", name, what,
              p->rows);
    CHECK_MSG(memcmp(got.kv, want->kv, p->kv_bytes) == 0, "%s, %s, %u rows: keys and values", name,
              what, p->rows);
    written_free(&got);
}

/* All kernels; frees p. On a GPU without wgmma, or a build without it, two of them. */
static void compare(struct product *p, const char *what) {
    struct err none = {0};
    struct written want = run(p, run_few);
    size_t changed = 0;
    for (size_t i = 0; i < p->y_bytes; i++)
        changed += want.y[i] != ((unsigned char *)p->y)[i];
    for (size_t i = 0; i < p->out_bytes; i++)
        changed += want.out[i] != 0xFF;
    CHECK_MSG(changed > 0, "%s: nothing is written", what);
    same(p, &want, run_tile, "k_tile", what);
    if (cu_info(dev)->sm == 90 && cu_kernel(dev, "k_tile_wgmma_bf16", 0, &none))
        same(p, &want, run_wgmma, "k_tile_wgmma", what);
    written_free(&want);
    product_free(p);
}

static void plain(void) {
    static const uint32_t rows[] = {1, 37, 128, 129, 300};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct product p =
            product(rows[i], 16 + 4 * below(70), 64 * (1 + below(12)), CU_ADD, i % 2);
        compare(&p, "y +=");
    }
    struct product p = product(140, 272, 64, CU_STORE, false);
    p.a.bias[0] = p.bias.p;
    compare(&p, "y = with a bias, k 64");
    p = product(70, 131, 200, CU_STORE, false);
    p.a.softcap = 3;
    p.a.divisor = 2;
    compare(&p, "capped, an odd number of outputs");
    p = product(70, 128, 1100, CU_ADD, true);
    p.a.bias[0] = p.bias.p;
    compare(&p, "y += with a bias, k 1100");
    p = product(200, 64, 128, CU_STORE, false);
    p.a.wanted = true;
    p.a.most = 150;
    compare(&p, "150 wanted rows of 200");
}

static void activations(void) {
    for (uint32_t i = 0; i < 3; i++) {
        struct product p =
            product(1 + below(260), 8 * (1 + below(20)), 64 * (1 + below(5)), CU_GATED, i == 1);
        compare(&p, "silu");
    }
    for (uint32_t act = CU_SILU; act <= CU_RELU; act++) {
        struct product p = product(130, 8 * below(8) + 3, 64, CU_GATED, false);
        p.a.act = act;
        if (act == CU_RELU) {
            p.a.bias[0] = p.bias.p;
            p.a.bias[1] = (float *)p.bias.p + p.a.pairs.n_out[0];
        }
        compare(&p, "gated");
        p = product(129, 60, 128, CU_ACT, act == CU_SILU);
        p.a.act = act;
        p.a.bias[0] = p.bias.p;
        compare(&p, "not gated");
    }
}

static void heads(void) {
    for (uint32_t i = 0; i < 5; i++) {
        uint32_t n = (2 * N_KV_HEADS + 1 + below(6)) * HEAD;
        struct product p =
            product(i == 0 ? 1 : 100 + below(100), n, 64 * (1 + below(4)), CU_QKV, i == 1);
        if (i == 2)
            p.a.bias[0] = p.bias.p;
        if (i == 3)
            p.a.pairs.half = p.a.rotary_half = HEAD / 4;
        if (i == 4)
            p.a.pairs.half = p.a.rotary_half = 5;
        compare(&p, i == 3   ? "a quarter is rotated"
                    : i == 4 ? "an odd part is rotated"
                             : "q, k and v");
    }
}

int main(int argc, char **argv) {
    (void)argc;
    dev_open(argv);
    RUN(plain);
    RUN(activations);
    RUN(heads);
    cu_close(dev);
    return check_done();
}
