/* kernels: times the matrix kernels beside the machine's limits, in turns; medians and ratios.
 *
 *     kernels [-t THREADS] [-r ROUNDS] [-s MBYTES] [-i ISA]
 *
 * Decode shapes (one row) are compared to reading the same number of bytes of the same file
 * mapping in the best pattern. Each pass walks through many matrices, so that none is still in a
 * cache. Prefill shapes are compared to the peak of the instruction set's multiply-add. A ratio is
 * the median of the rounds' own ratios.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/num.h"
#include "kernels/kernels.h"
#include "lib/limits.h"

enum { MAX_ROUNDS = 101 };

struct shape {
    const char *name;
    size_t n_rows, n_in, n_out;
    enum mat_layout layout;
};
static const struct shape shapes[] = {
    {"decode 2048 x 2048 BF16 (attention out)", 1, 2048, 2048, MAT_BF16},
    {"decode 2048 x 256 BF16 (keys)", 1, 2048, 256, MAT_BF16},
    {"decode 2048 x 5632 BF16 (gate, up)", 1, 2048, 5632, MAT_BF16},
    {"decode 5632 x 2048 BF16 (down)", 1, 5632, 2048, MAT_BF16},
    {"decode 2048 x 32000 BF16 (LM head)", 1, 2048, 32000, MAT_BF16},
    {"decode 576 x 576 BF16", 1, 576, 576, MAT_BF16},
    {"decode 576 x 1536 BF16", 1, 576, 1536, MAT_BF16},
    {"decode 2048 x 5632 F16", 1, 2048, 5632, MAT_F16},
    {"decode 2048 x 5632 F32", 1, 2048, 5632, MAT_F32},
    {"4 rows, 2048 x 5632 BF16", 4, 2048, 5632, MAT_BF16},
    {"8 rows, 2048 x 5632 BF16", 8, 2048, 5632, MAT_BF16},
    {"12 rows, 2048 x 5632 BF16", 12, 2048, 5632, MAT_BF16},
    {"16 rows, 2048 x 5632 BF16", 16, 2048, 5632, MAT_BF16},
    {"32 rows, 2048 x 5632 BF16", 32, 2048, 5632, MAT_BF16},
    {"64 rows, 2048 x 5632 BF16", 64, 2048, 5632, MAT_BF16},
    {"64 rows, 5632 x 2048 BF16", 64, 5632, 2048, MAT_BF16},
    {"256 rows, 2048 x 256 BF16", 256, 2048, 256, MAT_BF16},
    {"256 rows, 2048 x 2048 BF16", 256, 2048, 2048, MAT_BF16},
    {"256 rows, 2048 x 5632 BF16", 256, 2048, 5632, MAT_BF16},
    {"256 rows, 5632 x 2048 BF16", 256, 5632, 2048, MAT_BF16},
    {"256 rows, 2048 x 5632 F16", 256, 2048, 5632, MAT_F16},
    {"256 rows, 2048 x 5632 F32", 256, 2048, 5632, MAT_F32},
    {"256 rows, 384 x 384 F32", 256, 384, 384, MAT_F32},
    {"256 rows, 384 x 1536 F32", 256, 384, 1536, MAT_F32},
    {"256 rows, 1536 x 384 F32", 256, 1536, 384, MAT_F32},
    {"256 rows, 576 x 1536 BF16", 256, 576, 1536, MAT_BF16},
    {"decode 2048 x 5632 i8", 1, 2048, 5632, MAT_I8},
    {"decode 5632 x 2048 i8", 1, 5632, 2048, MAT_I8},
    {"decode 2048 x 5632 i4, 4.25 bits", 1, 2048, 5632, MAT_I4_32},
    {"decode 5632 x 2048 i4, 4.25 bits", 1, 5632, 2048, MAT_I4_32},
    {"decode 2048 x 5632 i4, 4.5 bits", 1, 2048, 5632, MAT_I4_16},
    {"decode 2048 x 5632 nf4", 1, 2048, 5632, MAT_I4_64},
    {"8 rows, 2048 x 5632 i8", 8, 2048, 5632, MAT_I8},
    {"8 rows, 2048 x 5632 i4, 4.25 bits", 8, 2048, 5632, MAT_I4_32},
    {"16 rows, 2048 x 5632 i4, 4.25 bits", 16, 2048, 5632, MAT_I4_32},
    {"256 rows, 2048 x 5632 i8", 256, 2048, 5632, MAT_I8},
    {"256 rows, 2048 x 5632 i4, 4.25 bits", 256, 2048, 5632, MAT_I4_32},
    {"256 rows, 2048 x 5632 i4, 4.5 bits", 256, 2048, 5632, MAT_I4_16},
    {"256 rows, 5632 x 2048 i4, 4.25 bits", 256, 5632, 2048, MAT_I4_32},
    {"256 rows, 5632 x 2048 i8", 256, 5632, 2048, MAT_I8},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

struct bench {
    struct pool *pool;
    const unsigned char *memory;
    size_t size; // bytes
    float *x, *y;
    void *scratch;
    enum peak peak, integers;
};

/* The matrix of a shape at `data`. Random bytes are codes of some value. */
static struct mat shape_mat(const struct shape *s, const void *data) {
    static const enum dtype plain[] = {
        [MAT_F32] = DT_F32, [MAT_F16] = DT_F16, [MAT_BF16] = DT_BF16};
    return mat_panel_rows(s->layout) > 1 ? mat_panels(data, s->layout, s->n_out, s->n_in)
                                         : mat_plain(data, plain[s->layout], s->n_out, s->n_in);
}
static size_t shape_bytes(const struct shape *s) {
    const struct mat w = shape_mat(s, "");
    return mat_bytes(&w);
}
/* What arithmetic is compared to. Integer layouts take two vpdpbusd for 64 products, because x has
 * 15 bits: half of that peak is their limit. With AMX weights of i8 and i4 have 16 bits, too: a
 * quarter is the limit. */
static enum peak shape_peak(const struct bench *b, const struct shape *s) {
    return mat_panel_rows(s->layout) > 1 ? b->integers : b->peak;
}

/* Seconds for one product, the average of many: one of each matrix that fits the memory, or fewer
 * where that is much work. */
static double matmul_time(const struct bench *b, const struct shape *s) {
    size_t bytes = shape_bytes(s), n = b->size / bytes;
    double work = 2.0 * (double)s->n_rows * (double)s->n_in * (double)s->n_out;
    if (s->n_rows > 1 && (double)n * work > 1e10)
        n = (size_t)(1e10 / work) + 1;
    double t = seconds();
    for (size_t i = 0; i < n; i++) {
        struct mat w = shape_mat(s, b->memory + i * bytes);
        const struct matmul_product product = {.y = b->y, .ldy = s->n_out, .w = &w};
        matmul(b->pool, &product, 1,
               &(struct matmul_input){b->x, s->n_in, s->n_rows, false, b->scratch});
    }
    return (seconds() - t) / (double)n;
}

static void measure(const struct bench *b, size_t rounds, const char *only) {
    static double speed[N_SHAPES][MAX_ROUNDS], ratio[N_SHAPES][MAX_ROUNDS],
        limits[N_SHAPES][MAX_ROUNDS];
    const struct read_pattern *pattern = best_read(b->pool, b->memory, b->size);
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < N_SHAPES; i++) {
            const struct shape *s = &shapes[i];
            if (only && !strstr(s->name, only))
                continue;
            double ops = 2.0 * (double)s->n_rows * (double)s->n_in * (double)s->n_out;
            // The limit is read before and after: the load of the machine changes.
            double limit, t;
            if (s->n_rows <= 12) {
                limit = read_rate(b->pool, pattern, b->memory, b->size);
                t = matmul_time(b, s);
                limit = (limit + read_rate(b->pool, pattern, b->memory, b->size)) / 2;
                speed[i][r] = (double)shape_bytes(s) / t;
            } else {
                limit = peak_rate(b->pool, shape_peak(b, s));
                t = matmul_time(b, s);
                limit = (limit + peak_rate(b->pool, shape_peak(b, s))) / 2;
                speed[i][r] = ops / t;
            }
            ratio[i][r] = speed[i][r] / limit;
            limits[i][r] = limit;
        }
    printf("# %s, %zu threads; decode against reading a file mapping (%s), prefill against %s, "
           "of integers against %s\n",
           kernels_isa(), pool_threads(b->pool), pattern->name, peak_names[b->peak],
           peak_names[b->integers]);
    for (size_t i = 0; i < N_SHAPES; i++) {
        if (only && !strstr(shapes[i].name, only))
            continue;
        double best_limit = 0, best_speed = 0;
        for (size_t r = 0; r < rounds; r++) {
            best_limit = limits[i][r] > best_limit ? limits[i][r] : best_limit;
            best_speed = speed[i][r] > best_speed ? speed[i][r] : best_speed;
        }
        printf("%-42s %7.1f %-7s %5.1f %%   best %6.1f of %6.1f: %5.1f %%\n", shapes[i].name,
               median(speed[i], rounds) * 1e-9, shapes[i].n_rows <= 12 ? "GB/s" : "GFLOP/s",
               median(ratio[i], rounds) * 100, best_speed * 1e-9, best_limit * 1e-9,
               best_speed / best_limit * 100);
    }
}

int main(int argc, char **argv) {
    size_t threads = 0, rounds = 9;
    struct bench b = {.size = 512};
    const char *isa = NULL, *only = NULL;
    program_init(argv[0]);
    for (int c; (c = getopt(argc, argv, "t:r:s:i:o:")) != -1;)
        switch (c) {
        case 't':
            threads = opt_u64("-t", optarg, 1, 1024);
            break;
        case 'r':
            rounds = opt_u64("-r", optarg, 1, MAX_ROUNDS);
            break;
        case 's':
            b.size = opt_u64("-s", optarg, 256, 1 << 20);
            break;
        case 'i':
            isa = optarg;
            break;
        case 'o':
            only = optarg;
            break;
        default:
            die_usage("kernels [-t THREADS] [-r ROUNDS] [-s MBYTES] [-i ISA] [-o SHAPES]");
        }
    struct err e = {0};
    if (isa)
        setenv("LLM_ISA", isa, 1);
    if (kernels_init(&e) != 0 || !(b.pool = pool_new(threads, &e)))
        die_err(&e);
    b.size <<= 20;
    b.memory = memory_take(MEMORY_FILE, b.size);
    if (!b.memory)
        return EXIT_SYSTEM;
    b.x = xaligned(64, 256 * 5632 * sizeof(float));
    for (size_t i = 0; i < 256 * 5632; i++)
        b.x[i] = (float)(i % 17) / 17 - 0.5f;
    b.y = xaligned(64, 256 * 32000 * sizeof(float));
    b.scratch = xaligned(64, matmul_scratch(256, 5632));
    b.peak = peak_of_isa(kernels_isa());
    b.integers = peak_of_integers(kernels_isa());
    measure(&b, rounds, only);
    pool_free(b.pool);
    return 0;
}
