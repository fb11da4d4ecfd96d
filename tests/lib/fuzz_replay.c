/* Runs a fuzz entry over files and their mutations, for builds without libFuzzer.
 *
 *     ENTRY FILE...               each file, as it is
 *     ENTRY --flips MOST FILE...  also every truncation, every flipped bit, and every byte replaced
 *                                 by each of `bytes` below; of more than MOST a file (0: no limit),
 *                                 MOST of them, evenly spaced
 *
 * Without a FILE, an empty input. Prints "ENTRY: N inputs". An input that ends the program, or
 * takes more than 20 seconds of the CPU or 200 in all, is named as "FILE: truncated to 12 bytes",
 * and is written to the file crash-ENTRY for the same program.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#define _XOPEN_SOURCE 700 // setitimer
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "fuzz.h"

enum { MOST_CPU_SECONDS = 20, MOST_SECONDS = 200, MOST_MEMORY = 1 << 30, N_BITS = 8 };

static const uint8_t bytes[] = {0x00, 0x01, 0x7f, 0x80, 0xff, ' ', '"', '0', '9', '[', '{', '}'};

static const char *entry, *what_file;
static char what[100];
static const uint8_t *input; // NULL between inputs
static size_t input_size, n_inputs;

/* Only calls that are safe after a crash. */
static void say(const char *s) {
    if (write(STDERR_FILENO, s, strlen(s)) < 0)
        _exit(EXIT_IO);
}

static void report(void) {
    if (!input)
        return;
    say(entry);
    say(": stopped by ");
    say(what_file);
    say(": ");
    say(what);
    say("\n");
    char path[200] = "crash-";
    strncat(path, entry, sizeof path - strlen(path) - 1);
    FILE *f = fopen(path, "wb");
    if (f) {
        fwrite(input, 1, input_size, f);
        fclose(f);
    }
    input = NULL;
}

static void on_signal(int signal_number) {
    report();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

/* Where a sanitizer is linked, its reports end the program without a signal. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void) {
    static const int signals[] = {SIGALRM, SIGPROF, SIGABRT, SIGSEGV,
                                  SIGBUS,  SIGFPE,  SIGILL,  SIGPIPE};
    bool sanitized = __sanitizer_set_death_callback != NULL;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (i < 3 || !sanitized)
            signal(signals[i], on_signal);
    if (sanitized)
        __sanitizer_set_death_callback(report);
    else if (setrlimit(RLIMIT_AS, &(struct rlimit){4UL * MOST_MEMORY, 4UL * MOST_MEMORY}) != 0)
        abort();
    atexit(report); // library code that calls exit
}

static void run(const uint8_t *p, size_t n) {
    uint8_t *exact = xmalloc(n ? n : 1);
    if (n)
        memcpy(exact, p, n);
    input = exact;
    input_size = n;
    alarm(MOST_SECONDS);
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = MOST_CPU_SECONDS}, NULL);
    LLVMFuzzerTestOneInput(exact, n);
    input = NULL;
    n_inputs++;
    free(exact);
}

/* Mutation k of a file: truncations first, then bits, then bytes. p is restored. */
static void run_mutation(uint8_t *p, size_t n, size_t k) {
    if (k < n) {
        snprintf(what, sizeof what, "truncated to %zu bytes", k);
        run(p, k);
        return;
    }
    k -= n;
    size_t at = k % n, how = k / n;
    uint8_t was = p[at];
    if (how < N_BITS) {
        p[at] ^= (uint8_t)(1u << how);
        snprintf(what, sizeof what, "bit %zu of byte %zu flipped", how, at);
    } else {
        p[at] = bytes[how - N_BITS];
        snprintf(what, sizeof what, "byte %zu set to 0x%02x", at, p[at]);
    }
    if (p[at] != was)
        run(p, n);
    p[at] = was;
}

static void run_file(const char *path, bool flips, size_t most) {
    struct buf file = {0};
    struct err e;
    if (read_file(path, MOST_MEMORY, &file, &e) != 0)
        die_err(&e);
    what_file = path;
    snprintf(what, sizeof what, "as it is");
    run((const uint8_t *)file.p, file.n);
    size_t all = flips ? file.n * (1 + N_BITS + sizeof bytes) : 0;
    size_t count = most && most < all ? most : all;
    for (size_t i = 0; i < count; i++) // i * all / count needs 128 bits for no file that fits
        run_mutation((uint8_t *)file.p, file.n, i * all / count);
    buf_free(&file);
}

int main(int argc, char **argv) {
    program_init(argv[0]);
    entry = program_name();
    bool flips = argc > 2 && strcmp(argv[1], "--flips") == 0;
    size_t most = flips ? strtoul(argv[2], NULL, 10) : 0;
    watch();
    if (argc == (flips ? 3 : 1)) {
        what_file = "an empty input";
        run((const uint8_t *)"", 0);
    }
    for (int i = flips ? 3 : 1; i < argc; i++)
        run_file(argv[i], flips, most);
    printf("%s: %zu inputs\n", entry, n_inputs);
    return 0;
}
