/* weights: times opening weights (mapping, the header's JSON, all checks, sorting), and
 * libsodium's BLAKE2b-256 alone over the same mapped bytes, which is the limit of st-inspect
 * --hash.
 *
 *     weights open PATH     median microseconds of 301 opens, and the lowest
 *     weights hash FILE     seconds of one pass over the file's bytes, and seconds of CPU time
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "lib/limits.h"
#include "weights/safetensors.h"

enum { ROUNDS = 301 };

static void time_open(const char *path) {
    double us[ROUNDS];
    size_t n_tensors = 0, header_bytes = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        struct weights w;
        struct err e = {0};
        double start = seconds();
        if (weights_open(&w, path, &e) != 0)
            die_err(&e);
        us[i] = (seconds() - start) * 1e6;
        n_tensors = w.n_tensors;
        header_bytes = 0;
        for (size_t f = 0; f < w.n_files; f++)
            header_bytes += w.files[f].header_bytes;
        weights_close(&w);
    }
    double middle = median(us, ROUNDS); // sorts
    printf("open %zu tensors, %zu bytes of header: %.0f us, lowest %.0f us\n", n_tensors,
           header_bytes, middle, us[0]);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void time_hash(const char *path) {
    unsigned char digest[32];
    struct map m;
    struct err e = {0};
    if (sodium_init() < 0)
        die(EXIT_SYSTEM, "libsodium cannot start");
    if (map_file(&m, path, &e) != 0)
        die_err(&e);
    double start = seconds(), cpu = cpu_seconds();
    crypto_generichash(digest, sizeof digest, m.p, m.n, NULL, 0);
    printf("%.6f %.6f\n", seconds() - start, cpu_seconds() - cpu);
    unmap_file(&m);
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    if (argc == 3 && strcmp(argv[1], "open") == 0)
        time_open(argv[2]);
    else if (argc == 3 && strcmp(argv[1], "hash") == 0)
        time_hash(argv[2]);
    else
        die(EXIT_USAGE, "usage: weights open PATH | hash FILE");
    close_stdout();
    return EXIT_DONE;
}
