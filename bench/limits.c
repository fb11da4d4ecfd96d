/* limits: how fast this machine reads memory and multiplies: medians of interleaved rounds.
 *
 *     limits [-t THREADS] [-r ROUNDS] [-s MBYTES]
 *
 * Prints one line a figure: "name<TAB>value<TAB>unit<TAB>lowest<TAB>highest". The last line of
 * each kind of memory is its best pattern, which is the limit that decoding is compared to.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/num.h"
#include "lib/limits.h"

enum { MAX_ROUNDS = 101, MAX_PATTERNS = 16 };

static void print(const char *what, const char *which, double *x, size_t rounds, const char *unit) {
    double m = median(x, rounds) * 1e-9;
    printf("%s, %s\t%.1f\t%s\t%.1f\t%.1f\n", what, which, m, unit, x[0] * 1e-9,
           x[rounds - 1] * 1e-9);
}

int main(int argc, char **argv) {
    static const char *const memory_names[MEMORY_COUNT] = {"read file mapping", "read huge pages"};
    static double reads[MEMORY_COUNT][MAX_PATTERNS][MAX_ROUNDS], peaks[PEAK_COUNT][MAX_ROUNDS];
    size_t threads = 0, rounds = 11, size = 512;
    program_init(argv[0]);
    for (int c; (c = getopt(argc, argv, "t:r:s:")) != -1;)
        switch (c) {
        case 't':
            threads = opt_u64("-t", optarg, 1, 1024);
            break;
        case 'r':
            rounds = opt_u64("-r", optarg, 1, MAX_ROUNDS);
            break;
        case 's':
            size = opt_u64("-s", optarg, 1, 1 << 20);
            break;
        default:
            die_usage("limits [-t THREADS] [-r ROUNDS] [-s MBYTES]");
        }
    struct err e = {0};
    struct pool *p = pool_new(threads, &e);
    if (!p)
        die_err(&e);
    const void *memory[MEMORY_COUNT];
    for (int m = 0; m < MEMORY_COUNT; m++)
        if (!(memory[m] = memory_take((enum memory)m, size << 20)))
            return EXIT_SYSTEM;
    for (size_t r = 0; r < rounds; r++) {
        for (int m = 0; m < MEMORY_COUNT; m++)
            for (size_t i = 0; i < n_read_patterns; i++)
                reads[m][i][r] = read_rate(p, &read_patterns[i], memory[m], size << 20);
        for (int k = 0; k < PEAK_COUNT; k++)
            if (peak_here((enum peak)k))
                peaks[k][r] = peak_rate(p, (enum peak)k);
    }
    printf("threads\t%zu\n", pool_threads(p));
    for (int m = 0; m < MEMORY_COUNT; m++) {
        size_t best = 0;
        for (size_t i = 0; i < n_read_patterns; i++) {
            print(memory_names[m], read_patterns[i].name, reads[m][i], rounds, "GB/s");
            if (median(reads[m][i], rounds) > median(reads[m][best], rounds))
                best = i;
        }
        print(memory_names[m], "best", reads[m][best], rounds, "GB/s");
    }
    for (int k = 0; k < PEAK_COUNT; k++)
        if (peak_here((enum peak)k))
            print("peak", peak_names[k], peaks[k], rounds, "GOP/s");
    pool_free(p);
    return 0;
}
