/* search: times a flat search of an index beside plain reads of the part that it scans.
 *
 *     search [-t THREADS] [-r ROUNDS] [-q QUERIES] INDEX
 *
 * QUERIES random vectors (default 1) of length 1 are searched for together. Each round reads the
 * scan, searches, and reads it again. Prints the medians: seconds= of a search, read= and limit= in
 * bytes/s, and ratio=, the median of the rounds' own ratios.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/io.h"
#include "base/num.h"
#include "index/index.h"
#include "index/search.h"
#include "kernels/kernels.h"
#include "lib/limits.h"

enum { MAX_ROUNDS = 1001, BEST = 10 };

/* Random, but the same in each run. */
static float *make_queries(size_t n, size_t dim) {
    float *q = xcalloc(n * dim, sizeof *q);
    uint32_t state = 1;
    for (size_t i = 0; i < n * dim; i++) {
        state = state * 1664525 + 1013904223;
        q[i] = (float)(int32_t)state;
    }
    for (size_t i = 0; i < n; i++)
        search_normalise(q + i * dim, dim);
    return q;
}

static double search_once(const struct index_file *ix, struct pool *pool, const float *q,
                          size_t n) {
    struct index_hits *hits = xcalloc(n, sizeof *hits);
    struct err e = {0};
    const double began = seconds();
    if (search_vectors(ix, pool, q, n, BEST, hits, &e) != 0)
        die_err(&e);
    const double took = seconds() - began;
    for (size_t i = 0; i < n; i++)
        free(hits[i].p);
    free(hits);
    return took;
}

static void measure(const struct index_file *ix, struct pool *pool, size_t n, size_t rounds) {
    static double took[MAX_ROUNDS], read[MAX_ROUNDS], limit[MAX_ROUNDS], ratio[MAX_ROUNDS];
    struct index_layout l;
    if (!index_lay_out(&ix->info, &l))
        die(EXIT_DATA, "the index is too large");
    const size_t bytes = (size_t)l.scan_bytes / 4096 * 4096;
    const struct read_pattern *how = best_read(pool, ix->scan, bytes);
    float *q = make_queries(n, ix->info.dim);
    search_once(ix, pool, q, n);
    for (size_t r = 0; r < rounds; r++) {
        limit[r] = read_rate(pool, how, ix->scan, bytes);
        took[r] = search_once(ix, pool, q, n);
        limit[r] = (limit[r] + read_rate(pool, how, ix->scan, bytes)) / 2;
        read[r] = (double)l.scan_bytes / took[r];
        ratio[r] = read[r] / limit[r];
    }
    free(q);
    printf("seconds=%.6f read=%.0f limit=%.0f ratio=%.4f\n", median(took, rounds),
           median(read, rounds), median(limit, rounds), median(ratio, rounds));
}

int main(int argc, char **argv) {
    size_t threads = 0, rounds = 21, n = 1;
    static const char usage[] = "usage: search [-t THREADS] [-r ROUNDS] [-q QUERIES] INDEX";
    struct index_file ix;
    struct err e = {0};
    program_init(argv[0]);
    for (int c; (c = getopt(argc, argv, "t:r:q:")) != -1;)
        if (c == 't')
            threads = (size_t)opt_u64("-t", optarg, 1, 1024);
        else if (c == 'r')
            rounds = (size_t)opt_u64("-r", optarg, 1, MAX_ROUNDS);
        else if (c == 'q')
            n = (size_t)opt_u64("-q", optarg, 1, SEARCH_BATCH);
        else
            die_usage(usage);
    if (optind + 1 != argc)
        die_usage(usage);
    struct pool *pool = kernels_init(&e) == 0 ? pool_new(threads, &e) : NULL;
    if (!pool || index_open(&ix, argv[optind], &e) != 0)
        die_err(&e);
    measure(&ix, pool, n, rounds);
    index_close(&ix);
    pool_free(pool);
    close_stdout();
    return EXIT_DONE;
}
