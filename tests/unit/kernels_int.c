/* common/kernels: products of the integer layouts, on every instruction set that this CPU has. The
 * checks are in tests/lib/kernel_int_checks.h and kernel_group_checks.h; here are sizes, and pieces
 * of a job.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _DEFAULT_SOURCE // kernel_inputs.h
#include "../lib/check.h"
#include "../lib/kernel_group_checks.h"

/* A piece is whole panels, also where fewer rows of a plain matrix beside them are widened. */
static void widened_beside_panels(void) {
    enum { ROWS = 70, OUT = 40, IN = 9000 };
    struct pool *p = pool_new(2, NULL);
    struct int_mat m = int_mat_new(MAT_I8, OUT, IN, 0, FILL_RANDOM);
    struct mat plain = mat_plain(NULL, DT_BF16, OUT, IN);
    float *values = xcalloc(OUT * IN, sizeof *values), *x = random_floats(ROWS * IN),
          y[2][ROWS * OUT], want[2][ROWS * OUT];
    struct guarded g = random_mat(&plain, 0, values);
    void *scratch = xaligned(64, matmul_scratch(ROWS, IN));
    const struct matmul_input in = {x, IN, ROWS, false, scratch};
    const struct matmul_product products[] = {{.y = y[0], .ldy = OUT, .w = &plain},
                                              {.y = y[1], .ldy = OUT, .w = &m.w}};
    matmul(p, products, 2, &in);
    multiply(p, want[0], OUT, &plain, NULL, &in);
    multiply(p, want[1], OUT, &m.w, NULL, &in);
    CHECK_MSG(memcmp(y, want, sizeof y) == 0, "%s", kernels_isa());
    int_mat_free(&m);
    guarded_free(&g);
    free(values);
    free(x);
    free(scratch);
    pool_free(p);
}

/* More rows than the scratch for a panel of `up` holds. */
static void very_many_rows(void) {
    enum { ROWS = 8300, OUT = 20, IN = 40 };
    struct pool *p = pool_new(2, NULL);
    struct int_mat w = int_mat_new(MAT_I8, OUT, IN, 0, FILL_RANDOM);
    float *x = random_floats(ROWS * IN), *y = xcalloc(ROWS * OUT, sizeof *y), want[OUT];
    void *scratch = xaligned(64, matmul_scratch(ROWS, IN));
    const struct matmul_product product = {
        .y = y, .ldy = OUT, .w = &w.w, .act = ACT_RELU, .up = &w.w};
    matmul(p, &product, 1, &(struct matmul_input){x, IN, ROWS, false, scratch});
    for (size_t r = 0; r < ROWS; r += 8299) {
        struct matmul_product one = product;
        one.y = want;
        matmul(p, &one, 1, &(struct matmul_input){x + r * IN, IN, 1, false, scratch});
        CHECK_MSG(memcmp(y + r * OUT, want, sizeof want) == 0, "row %zu", r);
    }
    int_mat_free(&w);
    free(x);
    free(y);
    free(scratch);
    pool_free(p);
}

static void sizes_overflow(void) {
    CHECK(panel_i8_bytes(SIZE_MAX) == SIZE_MAX && panel_i4_bytes(SIZE_MAX / 2, 16) == SIZE_MAX);
    CHECK(panel_inputs(SIZE_MAX) == SIZE_MAX && panel_inputs(65) == 128);
    CHECK_INT(panel_i8_bytes(256), 64 + 128 + 4096);
    CHECK_INT(panel_i8_bytes(1), 64 + 64 + 1024);
    CHECK_INT(panel_i4_bytes(256, 32), 64 + 128 + 2048);
    CHECK_INT(panel_i4_bytes(320, 16), 64 + 256 + 2048 + 64 + 512);
    CHECK_INT(panel_i4_bytes(320, 64), 64 + 64 + 2048 + 64 + 512);
    const struct mat wide = mat_panels("", MAT_I8, 16, SIZE_MAX / 8),
                     tall = mat_panels("", MAT_I4_32, SIZE_MAX - 3, 64),
                     fits = mat_panels("", MAT_I8, 17, 64);
    CHECK(!wide.data && !tall.data && fits.data);
    CHECK_INT(mat_bytes(&fits), 2 * panel_i8_bytes(64));
    for (const char *const *isa = kernels_isas(); *isa; isa++) {
        kernels_use(*isa);
        CHECK(matmul_scratch(SIZE_MAX / 64, 64) == SIZE_MAX);
    }
}

int main(void) {
    kernels_use("baseline");
    RUN(sizes_overflow);
    for (const char *const *isa = kernels_isas(); *isa; isa++) {
        printf("# %s\n", *isa);
        kernels_use(*isa);
        RUN(products_are_the_models);
        RUN(odd_values_of_x);
        RUN(same_bits_in_every_cut);
        RUN(widened_beside_panels);
        RUN(gated_products);
        RUN(precise_is_f32);
        RUN(very_many_rows);
        RUN(groups_are_the_models);
        RUN(largest_sums_of_groups);
        RUN(groups_same_bits_in_every_cut);
        RUN(products_of_many_orders);
        RUN(precise_groups_are_f32);
        RUN(widened_rows_are_the_reference);
    }
    return check_done();
}
