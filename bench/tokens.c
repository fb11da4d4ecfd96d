/* tokens: times the tokenizer in one process: loading, the first encoding of a text, and later
 * ones.
 *
 *     tokens TOKENIZER FILE [ROUNDS]
 *
 * Prints one line of JSON: bytes, ids, a checksum of the ids, seconds of CPU time for loading, for
 * the first encoding and for the fastest of ROUNDS, and the peak memory of the first encoding
 * beyond the text (KiB).
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "tokens/tokenizer.h"

static double cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The peak of this program's memory. getrusage would count its parent's memory at the fork too. */
static long peak_kib(void) {
    char line[128];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    if (argc < 3)
        die_usage("tokens TOKENIZER FILE [ROUNDS]");
    struct err e = {0};
    struct buf text = {0};
    struct token_ids ids = {0};
    if (read_file(argv[2], 1u << 31, &text, &e) != 0)
        die_err(&e);
    double start = cpu();
    struct tokenizer *t = tokenizer_open(argv[1], &e);
    if (!t)
        die_err(&e);
    double load = cpu() - start, first = 0, best = 0;
    long before = peak_kib(), after = 0;
    struct encoder *en = encoder_new(t);
    int rounds = argc > 3 ? atoi(argv[3]) : 3;
    for (int i = 0; i < rounds || i == 0; i++) {
        start = cpu();
        if (tokenizer_encode(en, buf_view(&text), NULL, &ids, &e) != 0)
            die_err(&e);
        double took = cpu() - start;
        if (i == 0) {
            first = took;
            after = peak_kib();
        }
        if (i == 0 || took < best)
            best = took;
    }
    uint64_t sum = 14695981039346656037u;
    for (size_t i = 0; i < ids.n; i++)
        sum = (sum ^ ids.ids[i]) * 1099511628211u;
    printf("{\"bytes\": %zu, \"ids\": %zu, \"sum\": \"%016" PRIx64
           "\", \"load\": %.6f, \"first\": %.6f, \"best\": %.6f, "
           "\"extra_kib\": %ld}\n",
           text.n, ids.n, sum, load, first, best, after - before);
    encoder_free(en);
    tokenizer_free(t);
    token_ids_free(&ids);
    buf_free(&text);
    return 0;
}
