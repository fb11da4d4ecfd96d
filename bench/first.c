/* first: times plain C's matrix multiplication beside the first one that this project had.
 *
 *     first [THREADS]     prints c=FLOP/S baseline=FLOP/S first=FLOP/S, medians
 *
 * The product is 64 rows of x times W [5632, 2048] in BF16, with all threads; the three take
 * turns. c is today's C as LLM_ISA=c runs it, with AVX where the CPU has it. baseline is the same
 * C for what every CPU has; the first version was compiled for that too. The first version
 * computes one dot product after another, over 8 lanes that the compiler may keep in vectors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/num.h"
#include "kernels/kernels.h"
#include "lib/limits.h"

enum { N_ROWS = 64, N_IN = 2048, N_OUT = 5632, LANES = 8, ROUNDS = 5 };

struct job {
    float *y;               // [N_ROWS, N_OUT]
    const float *x;         // [N_ROWS, N_IN]
    const unsigned char *w; // [N_OUT, N_IN] bf16
};

static float dot(const float *x, const unsigned char *w) {
    float acc[LANES] = {0};
    for (size_t k = 0; k < N_IN; k += LANES) {
        uint16_t h[LANES];
        memcpy(h, w + k * 2, sizeof h);
        for (size_t l = 0; l < LANES; l++) {
            uint32_t bits = (uint32_t)h[l] << 16;
            float f;
            memcpy(&f, &bits, sizeof f);
            acc[l] += x[k + l] * f;
        }
    }
    return ((acc[0] + acc[1]) + (acc[2] + acc[3])) + ((acc[4] + acc[5]) + (acc[6] + acc[7]));
}

static void run_first(void *arg, size_t begin, size_t end, size_t thread) {
    const struct job *j = arg;
    (void)thread;
    for (size_t o = begin; o < end; o++)
        for (size_t r = 0; r < N_ROWS; r++)
            j->y[r * N_OUT + o] = dot(j->x + r * N_IN, j->w + o * N_IN * 2);
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    if (argc > 2)
        die_usage("usage: first [THREADS]");
    struct err e = {0};
    struct pool *p = NULL;
    setenv("LLM_ISA", "c", 1);
    if (kernels_init(&e) != 0 ||
        !(p = pool_new(argc > 1 ? (size_t)opt_u64("THREADS", argv[1], 1, 1024) : 0, &e)))
        die_err(&e);
    const void *w = memory_take(MEMORY_HUGE, (size_t)2 * N_IN * N_OUT);
    if (!w)
        return EXIT_SYSTEM;
    float *x = xaligned(64, sizeof(float) * N_ROWS * N_IN),
          *y = xaligned(64, sizeof(float) * N_ROWS * N_OUT);
    for (size_t i = 0; i < N_ROWS * N_IN; i++)
        x[i] = (float)(i % 17) / 17 - 0.5f;
    void *scratch = xaligned(64, matmul_scratch(N_ROWS, N_IN));
    struct job j = {y, x, w};
    struct mat mat = mat_plain(w, DT_BF16, N_OUT, N_IN);
    const struct matmul_product product = {.y = y, .ldy = N_OUT, .w = &mat};
    static const char *const isas[] = {"c", "baseline"};
    double first[ROUNDS], now[2][ROUNDS], flops = 2.0 * N_ROWS * N_IN * N_OUT;
    for (size_t r = 0; r < ROUNDS; r++) {
        double start = seconds();
        pool_run(p, run_first, &j, N_OUT, 32);
        first[r] = flops / (seconds() - start);
        for (size_t i = 0; i < 2; i++) {
            kernels_use(isas[i]);
            start = seconds();
            matmul(p, &product, 1, &(struct matmul_input){x, N_IN, N_ROWS, false, scratch});
            now[i][r] = flops / (seconds() - start);
        }
    }
    printf("c=%.0f baseline=%.0f first=%.0f\n", median(now[0], ROUNDS), median(now[1], ROUNDS),
           median(first, ROUNDS));
    free(x);
    free(y);
    free(scratch);
    pool_free(p);
    close_stdout();
    return EXIT_DONE;
}
