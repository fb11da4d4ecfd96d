/* AMX: the emulated tiles to the bit, the kernels on them against a plain reference of the
 * documented order, the CPU's tiles against the emulated ones where it has them, and the choice of
 * the set.
 *
 * The order is in common/kernels/tile.h, the reference in tests/lib/tile_reference.h. Results must
 * be the same bits; only of NaN it is not said which one comes out.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _GNU_SOURCE // kernel_checks.h, syscall
#include "../lib/check.h"

#define CHECKS_FEW 1
#include "../lib/kernel_checks.h"
#include "kernels/isa.h"
#include "../lib/models.h"
#include "../lib/tile_reference.h"
#include "kernels/table.h"
#include "kernels/x86.h"

/* ---- The choice ---- */

static const char *chosen(const char *want, const struct isa_cpu *c, struct err *e) {
    *e = (struct err){0};
    const char *name = kernels_choose(want, c, e);
    CHECK(name || e->code == EXIT_USAGE);
    return name ? name : e->msg;
}

static void choosing_on_other_cpus(void) {
    const struct isa_cpu plain = {.avx2 = true}, emerald = {.intel = true,
                                                            .family = 6,
                                                            .model = 0xCF,
                                                            .avx2 = true,
                                                            .avx512 = true,
                                                            .avx512bf16 = true};
    struct isa_cpu amx = emerald, refused;
    amx.amx = true;
    refused = amx;
    refused.amx_refused = "arch_prctl: Operation not permitted";
    CHECK(refused.amx && !emerald.amx);
    struct err e;
#if KERNELS_AMX
    CHECK_STR(chosen(NULL, &amx, &e), "amx");
    CHECK_STR(chosen("", &amx, &e), "amx");
    CHECK_STR(chosen("amx", &amx, &e), "amx");
    CHECK_STR(chosen("avx512", &amx, &e), "avx512");
    CHECK_STR(chosen("amx-emulated", &amx, &e), "amx-emulated");
    CHECK_STR(chosen(NULL, &refused, &e), "avx512");
    CHECK_STR(chosen("amx", &refused, &e),
              "LLM_ISA is 'amx', which the system does not allow: arch_prctl: Operation not "
              "permitted");
    CHECK_STR(chosen(NULL, &emerald, &e), "avx512");
    CHECK_STR(chosen("amx-emulated", &emerald, &e), "amx-emulated");
    CHECK_STR(chosen("amx", &emerald, &e),
              "LLM_ISA is 'amx', which this CPU lacks (its default is avx512)");
    CHECK_STR(chosen("amx-emulated", &plain, &e),
              "LLM_ISA is 'amx-emulated', which this CPU lacks (its default is avx2)");
    CHECK_STR(chosen("amx", &plain, &e),
              "LLM_ISA is 'amx', which this CPU lacks (its default is avx2)");
#endif
    CHECK(strstr(chosen("amx9", &plain, &e), "not one of"));
}

#if KERNELS_AMX && defined(__linux__)
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kernels/amx.h"
#include "kernels/tile.h"
#include "kernels/tile_emulated.h"

#include "kernels/tile_emulated_avx512.h"

static bool has(const char *isa) {
    for (const char *const *i = kernels_isas(); *i; i++)
        if (strcmp(*i, isa) == 0)
            return true;
    return false;
}

/* Here the system's own answer counts: most CPUs have no AMX, and the others give it. */
static void asking(void) {
    const struct isa_cpu c = isa_cpu();
    const char *refused = amx_ask();
    printf("# %s\n", refused ? refused : "AMX is here");
    CHECK((refused == NULL) == has("amx") || !c.amx);
    CHECK(c.amx || refused);
    CHECK(amx_refused() == amx_refused());
}

/* A process whose system calls are filtered, as in a container: arch_prctl fails. */
static void asking_in_vain(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_arch_prctl, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1), // EPERM
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    const struct sock_fprog filter = {sizeof code / sizeof *code, code};
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0)
            _exit(77);
        const char *refused = amx_ask();
        _exit(!refused || strcmp(refused, "arch_prctl: Operation not permitted") != 0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status));
    CHECK_MSG(WEXITSTATUS(status) == 0, "status %d", WEXITSTATUS(status));
}

static void illegal(void) {
    __asm__ volatile("ud2");
}
static void reads_nothing(void) {
    raise(SIGSEGV);
}
static void does_nothing(void) {
}
static void attempts_are_survived(void) {
    for (int i = 0; i < 2; i++) {
        CHECK(!amx_survives(illegal));
        CHECK(!amx_survives(reads_nothing));
        CHECK(amx_survives(does_nothing));
    }
    struct sigaction now;
    sigaction(SIGILL, NULL, &now);
    CHECK(now.sa_handler == SIG_DFL);
}

/* ---- Tiles ---- */

static void random_tile(union tile *t, size_t rows, enum kind kind) {
    memset(t, 0, sizeof *t);
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < TILE_K; i++)
            t->half[r][i] = random_half(kind);
}
static float random_c(enum kind kind) {
    return kind == TINY  ? random_float() * 0x1p-123f
           : kind == ANY ? f32_from_bits((uint32_t)random_bits())
                         : random_float();
}

/* c = a b by emulated tiles of this shape, from c on. */
static void by_emulation(union tile *c, const union tile *a, const union tile *b, size_t rows,
                         size_t cols) {
    union tile narrow;
    for (size_t r = 0; r < 16; r++)
        memcpy(narrow.byte[0] + r * cols * 4, b->byte[r], cols * 4);
    tile_emulated_shape(rows, cols);
    tile_emulated_load(0, c, TILE_BYTES);
    tile_emulated_load(4, a, TILE_BYTES);
    tile_emulated_load(6, &narrow, cols * 4);
    tile_emulated_bf16(0, 4, 6);
    tile_emulated_store(0, c, TILE_BYTES);
}
AMX static void by_cpu(union tile *c, const union tile *a, const union tile *b, size_t rows,
                       size_t cols) {
    TILE_SHAPE(rows, cols);
    TILE_LOAD(0, c, TILE_BYTES);
    TILE_LOAD(4, a, TILE_BYTES);
    TILE_LOAD(6, b, TILE_BYTES);
    TILE_DP_BF16(0, 4, 6);
    TILE_STORE(0, c, TILE_BYTES);
    amx_release();
}

/* The emulation in C, that with AVX-512 and the CPU against the reference. */
static void tiles_are_right(void) {
    const struct isa_cpu cpu = isa_cpu(); // once: in a virtual machine cpuid is slow
    const bool amx_here = has("amx");
    for (size_t i = 0; i < 2000; i++) {
        const enum kind kind = (enum kind)(i % KINDS);
        const size_t rows = 1 + random_bits() % 16, cols = 1 + random_bits() % 16;
        union tile a, b, c, emulated, fast, silicon;
        random_tile(&a, rows, kind);
        random_tile(&b, 16, kind);
        for (size_t n = 0; n < 256; n++)
            c.f[n / 16][n % 16] = random_c(kind);
        emulated = fast = silicon = c;
        by_emulation(&emulated, &a, &b, rows, cols);
        if (cpu.avx512)
            tile_fast_bf16(fast.f, (const uint32_t(*)[16])a.word, (const uint32_t(*)[16])b.word,
                           rows, cols);
        if (amx_here)
            by_cpu(&silicon, &a, &b, rows, cols);
        for (size_t r = 0; r < 16; r++)
            for (size_t n = 0; n < 16; n++) {
                float want = c.f[r][n];
                if (r < rows && n < cols) {
                    uint16_t column[32];
                    for (size_t k = 0; k < 32; k++)
                        column[k] = b.half[k / 2][2 * n + k % 2];
                    want = summed(c.f[r][n], a.half[r], 1, column, 1, 32);
                }
                CHECK_MSG(same(emulated.f[r][n], want), "kind %d, [%zu, %zu]: %a, not %a", kind, r,
                          n, (double)emulated.f[r][n], (double)want);
                if (cpu.avx512)
                    CHECK_MSG(same(fast.f[r][n], want), "AVX-512, kind %d: %a, not %a", kind,
                              (double)fast.f[r][n], (double)want);
                if (amx_here)
                    CHECK_MSG(same(silicon.f[r][n], want), "the CPU, kind %d: %a, not %a", kind,
                              (double)silicon.f[r][n], (double)want);
            }
        if (check_here > 20)
            return;
    }
}

/* Cases with known results. */
static void known_sums(void) {
    static const struct {
        float a[4], b[4], c;
        uint32_t want;
    } cases[] = {
        {{1, 1, 0, 0}, {2, 3, 0, 0}, 4, 0x41100000},               // 4 + (2 + 3)
        {{0x1p24f, 1, 1, 0}, {1, 1, 1, 0}, 0, 0x4B800000},         // 2^24 + 1 is even; then + 1
        {{0x1p24f, 1, 1, 1}, {1, 1, 1, 1}, 0, 0x4B800001},         // 2^24 + (1 + 1)
        {{0x1p-126f, 0, 0, 0}, {0.5f, 0, 0, 0}, 0, 0},             // subnormal product
        {{-0x1p-126f, 0, 0, 0}, {0.5f, 0, 0, 0}, 0, 0},            // -0 + +0
        {{0x1p-127f, 0, 0, 0}, {2, 0, 0, 0}, 0, 0},                // subnormal input
        {{0x1p-126f, 0, 0, 0}, {1, 0, 0, 0}, 0, 0x00800000},       // the smallest normal
        {{0, 0, 0, 0}, {0, 0, 0, 0}, 0x1p-127f, 0},                // subnormal C
        {{INFINITY, 1, 0, 0}, {1, 1, 0, 0}, 0, 0x7F800000},        //
        {{0x1p127f, 0, 0x1p127f, 0}, {1, 0, 1, 0}, 0, 0x7F800000}, // overflow
        {{0x1p127f, -0x1p127f, 0x1p127f, 0}, {1, 1, -1, 0}, 0, 0xFF000000}, // 0 + -2^127
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        union tile a = {{{0}}}, b = {{{0}}}, c = {{{0}}};
        for (size_t k = 0; k < 4; k++) {
            a.half[0][k] = bf16_from_f32(cases[i].a[k]);
            b.half[k / 2][k % 2] = bf16_from_f32(cases[i].b[k]);
        }
        c.f[0][0] = cases[i].c;
        by_emulation(&c, &a, &b, 1, 1);
        CHECK_MSG(c.word[0][0] == cases[i].want, "case %zu: %08X, not %08X", i, c.word[0][0],
                  cases[i].want);
    }
    CHECK(isnan(tile_fma(INFINITY, 0, 1)) && isnan(tile_add(INFINITY, -INFINITY)));
    // 2^-126 - 2^-151 is a tie and rounds up to the smallest normal; a little less does not
    CHECK(tile_fma(0x1p-75f, -0x1p-76f, FLT_MIN) == FLT_MIN);
    CHECK(tile_fma(0x1.8p-75f, -0x1p-76f, FLT_MIN) == 0);
    CHECK(fused(0x1p-75, -0x1p-76, 0x1p-126) == FLT_MIN);
    CHECK(fused(0x1.8p-75, -0x1p-76, 0x1p-126) == 0);
}

static int32_t sign_extended(unsigned char b, bool is_signed) {
    return is_signed ? (signed char)b : b;
}
/* c += a b by the CPU's tiles; packed: b with lines of `cols` lanes. */
AMX static void int8_by_cpu(union tile *c, const union tile *a, const union tile *packed,
                            size_t rows, size_t cols, bool sa, bool sb) {
    TILE_SHAPE(rows, cols);
    TILE_LOAD(1, c, TILE_BYTES);
    TILE_LOAD(5, a, TILE_BYTES);
    TILE_LOAD(7, packed, cols * 4);
    if (sa && sb)
        TILE_DP_SS(1, 5, 7);
    else if (sa)
        TILE_DP_SU(1, 5, 7);
    else if (sb)
        TILE_DP_US(1, 5, 7);
    else
        TILE_DP_UU(1, 5, 7);
    TILE_STORE(1, c, TILE_BYTES);
    amx_release();
}

/* The emulation in C, that with AVX-512 and the CPU against the sums as they are written. */
static void int8_tiles(void) {
    const struct isa_cpu cpu = isa_cpu();
    const bool amx_here = has("amx");
    for (size_t i = 0; i < 400; i++) {
        const size_t rows = 1 + random_bits() % 16, cols = 1 + random_bits() % 16;
        const bool sa = i % 2, sb = i / 2 % 2;
        union tile a, b, c, was, packed, fast, silicon;
        random_tile(&a, 16, ANY);
        random_tile(&b, 16, ANY);
        random_tile(&c, 16, ANY);
        was = fast = silicon = c;
        for (size_t r = 0; r < 16; r++)
            memcpy(packed.byte[0] + r * cols * 4, b.byte[r], cols * 4);
        tile_emulated_shape(rows, cols);
        tile_emulated_load(1, &c, TILE_BYTES);
        tile_emulated_load(5, &a, TILE_BYTES);
        tile_emulated_load(7, &packed, cols * 4);
        tile_emulated_int8(1, 5, 7, sa, sb);
        tile_emulated_store(1, &c, TILE_BYTES);
        if (cpu.avx512)
            tile_fast_int8(fast.word, (const uint32_t(*)[16])a.word, (const uint32_t(*)[16])b.word,
                           rows, cols, sa, sb);
        if (amx_here)
            int8_by_cpu(&silicon, &a, &packed, rows, cols, sa, sb);
        for (size_t r = 0; r < 16; r++)
            for (size_t n = 0; n < 16; n++) {
                int64_t want = (int32_t)was.word[r][n];
                for (size_t k = 0; k < 64 && r < rows && n < cols; k++)
                    want += (int64_t)sign_extended(a.byte[r][k], sa) *
                            sign_extended(b.byte[k / 4][4 * n + k % 4], sb);
                CHECK(c.word[r][n] == (uint32_t)want);
                CHECK(!cpu.avx512 || fast.word[r][n] == (uint32_t)want);
                CHECK(!amx_here || silicon.word[r][n] == (uint32_t)want);
            }
    }
}

/* ---- Kernels ---- */

/* W, x, bias and what comes out of them. */
struct product_case {
    size_t n_rows, n_out, n_in, ldx, ldy;
    struct guarded w;
    uint16_t *w_half, *x_half;
    float *x, *bias, *want;
};

static struct product_case product_case(size_t n_rows, size_t n_out, size_t n_in, enum kind kind) {
    struct product_case c = {.n_rows = n_rows, .n_out = n_out, .n_in = n_in, .ldy = n_out + 1};
    c.ldx = n_in + random_bits() % 3;
    c.w = guarded_new(n_out * n_in * 2, 0);
    c.w_half = xcalloc(n_out * n_in, 2);
    c.x_half = xcalloc(n_rows * n_in, 2);
    c.x = xcalloc(n_rows * c.ldx, sizeof *c.x);
    c.bias = random_bits() % 2 ? random_floats(n_out) : NULL;
    c.want = xcalloc(n_rows * c.ldy, sizeof *c.want);
    for (size_t i = 0; i < n_out * n_in; i++)
        c.w_half[i] = random_half(kind);
    memcpy(c.w.p, c.w_half, n_out * n_in * 2);
    for (size_t r = 0; r < n_rows; r++)
        for (size_t k = 0; k < n_in; k++) {
            float f = kind == NEAR_1 ? random_float() : f32_from_bf16(random_half(kind));
            c.x[r * c.ldx + k] = f;
            c.x_half[r * n_in + k] = bf16_from_f32(f);
        }
    for (size_t r = 0; r < n_rows; r++) {
        for (size_t o = 0; o < n_out; o++) {
            float y = summed(0, c.w_half + o * n_in, 1, c.x_half + r * n_in, 1, n_in);
            c.want[r * c.ldy + o] = c.bias ? y + c.bias[o] : y;
        }
        c.want[r * c.ldy + n_out] = 777;
    }
    return c;
}
static void product_free(struct product_case *c) {
    guarded_free(&c->w);
    free(c->w_half);
    free(c->x_half);
    free(c->x);
    free(c->bias);
    free(c->want);
}

/* Rows [r, r + n) of it, by the set in use. */
static void multiply_case(struct pool *p, const struct product_case *c, size_t r, size_t n,
                          const char *isa) {
    struct mat w = mat_plain(c->w.p, DT_BF16, c->n_out, c->n_in);
    float *y = xcalloc(n * c->ldy, sizeof *y);
    void *scratch = xaligned(64, matmul_scratch(n, c->n_in));
    for (size_t i = 0; i < n * c->ldy; i++)
        y[i] = 777;
    multiply(p, y, c->ldy, &w, c->bias,
             &(struct matmul_input){c->x + r * c->ldx, c->ldx, n, false, scratch});
    for (size_t i = 0; i < n * c->ldy; i++)
        CHECK_MSG(same(y[i], c->want[r * c->ldy + i]),
                  "%s: rows [%zu, %zu) of [%zu, %zu] x [%zu, %zu], row %zu, output %zu: %a, not %a",
                  isa, r, r + n, c->n_rows, c->n_in, c->n_out, c->n_in, i / c->ldy, i % c->ldy,
                  (double)y[i], (double)c->want[r * c->ldy + i]);
    free(y);
    free(scratch);
}

static void check_products(const char *isa) {
    struct pool *pools[] = {pool_new(1, NULL), pool_new(3, NULL)};
    kernels_use(isa);
    for (size_t i = 0; i < 120 && check_here < 20; i++) {
        const bool long_rows = i % 20 == 0;
        struct product_case c = product_case(
            1 + random_bits() % (i % 8 == 0 ? 75 : 19), 1 + random_bits() % (i % 4 == 0 ? 150 : 40),
            1 + random_bits() % (long_rows ? 3000 : 150), (enum kind)(i % KINDS));
        for (size_t p = 0; p < 2; p++) {
            multiply_case(pools[p], &c, 0, c.n_rows, isa);
            const size_t r = random_bits() % c.n_rows, n = 1 + random_bits() % (c.n_rows - r);
            multiply_case(pools[p], &c, r, n, isa);
            multiply_case(pools[p], &c, r, 1, isa);
        }
        product_free(&c);
    }
    // several blocks of x, of rows that are long
    struct product_case c = product_case(70, 17, 9000, NEAR_1);
    multiply_case(pools[1], &c, 0, c.n_rows, isa);
    product_free(&c);
    pool_free(pools[0]);
    pool_free(pools[1]);
}

/* The weighted sums of attention. Rows of b before `begin` and after `end` are NaN. */
static void check_sums(const char *isa) {
    enum { MOST = 100, MOST_COLS = 200 }; // heads of 128 and more are several blocks of columns
    kernels_use(isa);
    for (size_t i = 0; i < 200 && check_here < 20; i++) {
        const enum kind kind = i % 3 ? NEAR_1 : TINY;
        const size_t m = 1 + random_bits() % 50, cols = 1 + random_bits() % MOST_COLS,
                     end = 1 + random_bits() % MOST, lda = (end + 1) / 2 * 2,
                     begin = i % 2 ? random_bits() % end : 0, ldb = cols + random_bits() % 2;
        uint16_t *a = xcalloc(m * lda, sizeof *a), *b = xcalloc((end + 2) * ldb * 2, sizeof *b),
                 *clean = xcalloc((size_t)MOST + 32, sizeof *clean),
                 *row = xcalloc((size_t)MOST + 32, sizeof *row);
        float *c = random_floats(m * cols), *want = xcalloc(m * cols, sizeof *want),
              *rescale = random_floats(m);
        for (size_t n = 0; n < m * lda; n++)
            a[n] = random_half(kind);
        memset(b, 0xFF, (end + 2) * ldb * 2 * sizeof *b);
        for (size_t k = begin; k < end; k++)
            for (size_t n = 0; n < cols; n++)
                b[(k / 2 * ldb + n) * 2 + k % 2] = random_half(kind);
        for (size_t q = 0; q < m; q++)
            for (size_t n = 0; n < cols; n++) {
                memset(clean, 0, (MOST + 32) * sizeof *clean);
                memset(row, 0, (MOST + 32) * sizeof *row);
                for (size_t k = begin; k < end; k++) {
                    clean[k] = b[(k / 2 * ldb + n) * 2 + k % 2];
                    row[k] = a[q * lda + k];
                }
                const size_t first = begin / 32 * 32;
                want[q * cols + n] = summed(i % 5 ? c[q * cols + n] * rescale[q] : 0, row + first,
                                            1, clean + first, 1, end - first);
            }
        kernel.attn.sum_bf16(&(struct attn_weighted_sum){.c = c,
                                                         .ldc = cols,
                                                         .rescale = i % 5 ? rescale : NULL,
                                                         .a = a,
                                                         .lda = lda,
                                                         .b = b,
                                                         .ldb = ldb,
                                                         .m = m,
                                                         .begin = begin,
                                                         .end = end,
                                                         .cols = cols,
                                                         .next = (const unsigned char *)b,
                                                         .next_bytes = 64});
        for (size_t n = 0; n < m * cols; n++)
            CHECK_MSG(same(c[n], want[n]),
                      "%s: %zu queries, rows [%zu, %zu), %zu columns: %a, not %a", isa, m, begin,
                      end, cols, (double)c[n], (double)want[n]);
        free(a);
        free(b);
        free(clean);
        free(row);
        free(c);
        free(want);
        free(rescale);
    }
}

/* ---- Models ---- */

/* Logits [n, vocab] of a model's golden prompt, all rows in one chunk or one by one. */
static float *logits_of(const char *folder, const char *isa, const int64_t *ids, size_t n,
                        bool one_by_one, size_t *n_logits) {
    kernels_use(isa);
    struct model_options o = {.n_threads = 2, .max_sequences = 1, .max_rows = 64};
    struct model *m = models_open(folder, &o);
    const size_t vocab = model_spec(m)->vocab_size, dim = model_spec(m)->hidden_dim;
    float *logits = xcalloc(n * vocab, sizeof *logits), *hidden = xcalloc(n * dim, sizeof *hidden);
    models_feed(m, 0, ids, n, one_by_one ? 1 : n, logits, hidden);
    model_close(m);
    free(hidden);
    *n_logits = n * vocab;
    return logits;
}

/* Rounded activations: as near to the golden logits as avx512bf16, which rounds the same values and
 * adds in another order. One row at a time gives the bits of the whole prompt. */
static void check_models(const char *isa) {
    DIR *d = opendir(MODELS_DIR);
    size_t checked = 0;
    for (struct dirent *f; d && (f = readdir(d));) {
        if (strchr(f->d_name, '.'))
            continue;
        char *folder = path_join(MODELS_DIR, f->d_name),
             *golden = path_join(folder, "golden.safetensors");
        struct weights g;
        struct err e = {0};
        CHECK(weights_open(&g, golden, &e) == 0);
        size_t n, n_logits, n_want;
        const int64_t *ids = models_golden(&g, "ids", &n);
        const float *want = models_golden(&g, "logits", &n_want);
        float *bf16 = logits_of(folder, "avx512bf16", ids, n, false, &n_logits),
              *tiles = logits_of(folder, isa, ids, n, false, &n_logits),
              *rows = logits_of(folder, isa, ids, n, true, &n_logits);
        CHECK_INT(n_logits, n_want);
        const float off = models_difference(tiles, want, n_want),
                    off_bf16 = models_difference(bf16, want, n_want);
        CHECK_MSG(off <= 1.25f * off_bf16 + 1e-3f, "%s, %s: off by %g, avx512bf16 by %g", f->d_name,
                  isa, (double)off, (double)off_bf16);
        CHECK_MSG(memcmp(tiles, rows, n_logits * sizeof *rows) == 0,
                  "%s, %s: other bits row by row", f->d_name, isa);
        checked++;
        free(bf16);
        free(tiles);
        free(rows);
        weights_close(&g);
        free(golden);
        free(folder);
    }
    if (d)
        closedir(d);
    CHECK(checked >= 30);
}

/* Threads release their tiles: the caller after a job, a worker before it sleeps. */
static atomic_int caller_idle, worker_idle;
static pthread_t caller;
static void count_idle(void) {
    atomic_fetch_add(pthread_equal(pthread_self(), caller) ? &caller_idle : &worker_idle, 1);
}
static void idle_job(void *arg, size_t begin, size_t end, size_t thread) {
    (void)arg, (void)begin, (void)end, (void)thread;
}
static void idle_threads_are_told(void) {
    caller = pthread_self();
    kernel.idle = count_idle;
    struct pool *p = pool_new(2, NULL);
    pool_run(p, idle_job, NULL, 100, 1);
    const int once = atomic_load(&caller_idle);
    CHECK(once > 0);
    pool_run(p, idle_job, NULL, 1, 1); // without the worker
    CHECK_INT(atomic_load(&caller_idle), once + 1);
    for (int i = 0; i < 5000 && atomic_load(&worker_idle) == 0; i++)
        usleep(1000);
    CHECK(atomic_load(&worker_idle) > 0);
    pool_free(p);
    kernel.idle = NULL;
}

/* What llm-forward -v prints of the device. */
static void refusal_is_shown(void) {
    char text[200];
    kernels_use("c");
    struct model_options o = {.n_threads = 1, .max_sequences = 1, .max_rows = 1};
    struct model *m = models_open(MODELS_DIR "/llama", &o);
    model_device_text(m, text, sizeof text);
    CHECK(!strstr(text, "AMX"));
    kernel.amx_refused = "arch_prctl: Operation not permitted";
    model_device_text(m, text, sizeof text);
    CHECK_STR(text, "c kernels, 1 threads; no AMX: arch_prctl: Operation not permitted");
    kernel.amx_refused = NULL;
    model_close(m);
}

static void models_emulated(void) {
    check_models("amx-emulated");
}
static void models_of_the_cpu(void) {
    check_models("amx");
}
static void products_emulated(void) {
    check_products("amx-emulated");
}
static void sums_emulated(void) {
    check_sums("amx-emulated");
}
static void products_of_the_cpu(void) {
    check_products("amx");
}
static void sums_of_the_cpu(void) {
    check_sums("amx");
}

int main(void) {
    RUN(choosing_on_other_cpus);
    RUN(attempts_are_survived);
    RUN(asking);
    RUN(asking_in_vain);
    RUN(idle_threads_are_told);
    RUN(refusal_is_shown);
    RUN(known_sums);
    RUN(int8_tiles);
    RUN(tiles_are_right);
    if (has("amx-emulated")) {
        RUN(products_emulated);
        RUN(sums_emulated);
        RUN(models_emulated);
    } else {
        SKIP(products_emulated, "this CPU has no AVX512-BF16");
        SKIP(sums_emulated, "this CPU has no AVX512-BF16");
        SKIP(models_emulated, "this CPU has no AVX512-BF16");
    }
    if (has("amx")) {
        RUN(products_of_the_cpu);
        RUN(sums_of_the_cpu);
        RUN(models_of_the_cpu);
    } else {
        SKIP(products_of_the_cpu, "this CPU has no AMX");
        SKIP(sums_of_the_cpu, "this CPU has no AMX");
        SKIP(models_of_the_cpu, "this CPU has no AMX");
    }
    return check_done();
}
#else
int main(void) {
    RUN(choosing_on_other_cpus);
    SKIP(tiles, "no AMX in this build");
    return check_done();
}
#endif
