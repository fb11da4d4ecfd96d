/* AMX int8: products of every integer layout by tiles, against the kernels in C. The bits must be
 * the same for any number of rows and inputs.
 *
 * kernels_int checks the sets against a model. Here it is every number of rows from 1 to 70, each
 * case of group_cases, and tiles also for the few rows that they leave to vpdpbusd. Where the CPU
 * has AMX, its own tiles are checked, too.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // kernel_inputs.h
#include "../lib/check.h"
#include "../lib/kernel_group_checks.h"
#include "kernels/isa.h"
#include "kernels/table.h"
#include "kernels/x86.h"

enum { MOST_ROWS = 70, MOST_OUT = 120, MOST_IN = 900 };

static bool has(const char *isa) {
    for (const char *const *i = kernels_isas(); *i; i++)
        if (strcmp(*i, isa) == 0)
            return true;
    return false;
}

/* y [rows, n_out] by set `isa`. all_rows: by its tiles, however few the rows are. */
static void by_set(const char *isa, bool all_rows, float *y, const struct mat *w, const float *bias,
                   const float *x, size_t rows) {
    struct pool *p = pool_new(1, NULL);
    kernels_use(isa);
    for (size_t l = 0; l < MAT_LAYOUTS && all_rows; l++)
        kernel.matmul_own[l].least_rows = 0;
    multiply_int(p, y, w->n_out, w, bias, x, w->n_in, rows, false);
    pool_free(p);
}

static void compare_sets(const char *isa, const char *what, size_t i, const struct mat *w,
                         size_t rows) {
    static float want[MOST_ROWS * MOST_OUT], y[MOST_ROWS * MOST_OUT];
    const size_t n_in = w->n_in, n = rows * w->n_out;
    float *x = random_floats(rows * n_in), *bias = random_floats(w->n_out);
    for (size_t k = 0; k < rows * n_in; k++)
        x[k] *= random_bits() % 50 == 0 ? 90.0f : 1.0f;
    if (rows > 3 && random_bits() % 4 == 0)
        x[n_in + random_bits() % n_in] = random_bits() % 2 ? NAN : INFINITY;
    if (rows > 4)
        memset(x + 2 * n_in, 0, n_in * sizeof *x);
    const float *with = random_bits() % 2 ? bias : NULL;
    by_set("baseline", false, want, w, with, x, rows);
    by_set(isa, true, y, w, with, x, rows);
    size_t wrong = 0;
    for (size_t k = 0; k < n; k++)
        wrong += !same(y[k], want[k]);
    CHECK_MSG(wrong == 0, "%s: %s %zu, [%zu, %zu] x [%zu, %zu]: %zu outputs differ", isa, what, i,
              rows, n_in, w->n_out, n_in, wrong);
    free(x);
    free(bias);
}

/* Inputs: some that end inside a step, a tile and a superblock, and some that do not. */
static size_t some_inputs(void) {
    static const size_t whole[] = {16, 64, 192, 256, 512, 576, 768};
    return random_bits() % 3 == 0 ? whole[random_bits() % 7] : 1 + random_bits() % MOST_IN;
}

static void check_set(const char *isa) {
    for (size_t rows = 1; rows <= MOST_ROWS && check_here < 20; rows++) {
        for (size_t l = 0; l < N_LAYOUTS; l++) {
            struct int_mat m =
                int_mat_new(layouts[l], 1 + random_bits() % MOST_OUT, some_inputs(),
                            random_bits() % 64, rows % 8 ? FILL_RANDOM : FILL_EXTREME);
            compare_sets(isa, "layout", layouts[l], &m.w, rows);
            int_mat_free(&m);
        }
        for (size_t c = 0; c < N_GROUP_CASES; c++) {
            struct group_mat *m =
                group_mat_new(&group_cases[c], 1 + random_bits() % MOST_OUT, some_inputs());
            if (group_is_fast(m)) // else W is widened, and sums in f32 differ between sets
                compare_sets(isa, "case", c, &m->w, rows);
            group_mat_free(m);
        }
    }
}

/* The most that a sum of folded weights can be, of either sign, and all its parts at their limits:
 * x and weights of one sign in even rows, of both in odd ones. */
static void check_limits(const char *isa) {
    enum { ROWS = 20, OUT = 48, IN = 768 };
    static float want[ROWS * OUT], y[ROWS * OUT];
    for (size_t l = 0; l < N_LAYOUTS; l++) {
        struct int_mat m = int_mat_new(layouts[l], OUT, IN, 0, FILL_EXTREME);
        float *x = random_floats(ROWS * IN);
        for (size_t i = 0; i < ROWS * IN; i++) {
            const size_t r = i / IN, k = i % IN;
            // 16256, and codes whose low plane is -128 or 127
            const float code = r % 5 == 0   ? 16256
                               : r % 5 == 1 ? 16256 - 129
                               : r % 5 == 2 ? -16256
                               : r % 5 == 3 ? (k % 2 ? 16256 : -16256)
                                            : (float)(random_bits() % 3) - 1;
            x[i] = k % 256 == 0 && r % 5 != 3 ? (code < 0 ? -16256 : 16256) : code;
        }
        by_set("baseline", false, want, &m.w, NULL, x, ROWS);
        by_set(isa, true, y, &m.w, NULL, x, ROWS);
        CHECK_MSG(memcmp(y, want, sizeof y) == 0, "%s: layout %d", isa, layouts[l]);
        for (size_t i = 0; i < ROWS; i++)
            CHECK(same(y[i * OUT + 1], model_output(&m, x + i * IN, 1, NULL)));
        int_mat_free(&m);
        free(x);
    }
}

#if KERNELS_AMX && defined(__x86_64__)
/* Which layouts tiles multiply, and that fewer rows stay with the kernels of avx512. */
static void check_table(const char *isa) {
    static const enum mat_layout by_tiles[] = {MAT_I8, MAT_I4_32, MAT_I4_16, MAT_G4,
                                               MAT_G8, MAT_K4,    MAT_K8};
    struct kernel_table vectors;
    kernels_use("avx512");
    vectors = kernel;
    kernels_use(isa);
    for (size_t i = 0; i < sizeof by_tiles / sizeof *by_tiles; i++) {
        const enum mat_layout l = by_tiles[i];
        CHECK(kernel.matmul_own[l].multiply != vectors.matmul_own[l].multiply);
        CHECK(kernel.matmul_own[l].least_rows > 1 && vectors.matmul_own[l].least_rows == 0);
        CHECK(kernel.matmul_few[l].multiply == vectors.matmul_own[l].multiply);
        CHECK(kernel.matmul_few[l].pack_x == vectors.matmul_own[l].pack_x);
    }
    kernels_use("avx512"); // nothing stays
    for (size_t l = 0; l < MAT_LAYOUTS; l++)
        CHECK(!kernel.matmul_few[l].multiply);
}

static void emulated_table(void) {
    check_table("amx-emulated");
}
static void emulated_limits(void) {
    check_limits("amx-emulated");
}
static void emulated_products(void) {
    check_set("amx-emulated");
}
static void table_of_the_cpu(void) {
    check_table("amx");
}
static void limits_of_the_cpu(void) {
    check_limits("amx");
}
static void products_of_the_cpu(void) {
    check_set("amx");
}
#endif

int main(void) {
#if KERNELS_AMX && defined(__x86_64__)
    if (has("amx-emulated")) {
        RUN(emulated_table);
        RUN(emulated_limits);
        RUN(emulated_products);
    } else {
        SKIP(emulated_products, "this CPU has no AVX512-BF16");
    }
    if (has("amx")) {
        RUN(table_of_the_cpu);
        RUN(limits_of_the_cpu);
        RUN(products_of_the_cpu);
    } else {
        SKIP(products_of_the_cpu, "this CPU has no AMX");
    }
#else
    SKIP(products, "no AMX in this build");
#endif
    return check_done();
}
