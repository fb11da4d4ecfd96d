/* The limits of the machine: reading memory and multiply-adds, with all threads of a pool.
 *
 * Each function does one timed pass and returns its rate. A benchmark alternates passes of the
 * limit with passes of what it compares to the limit: on a shared machine both rates vary
 * together, and their ratio is stable.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/pool.h"

double seconds(void); // of the monotonic clock

/* Memory as weights have it: a file's pages, mapped read-only, or anonymous huge pages.
 * Filled with random BF16 values in [-1, 1). NULL (and a message on stderr) where the system
 * refuses. */
enum memory { MEMORY_FILE, MEMORY_HUGE, MEMORY_COUNT };
const void *memory_take(enum memory m, size_t n);
void fill_bf16(void *p, size_t n); // n bytes of such values

/* Ways to read: the number of streams that a thread reads side by side, and how many bytes ahead it
 * prefetches (0: none). */
struct read_pattern {
    const char *name;
    size_t streams, prefetch;
};
extern const struct read_pattern read_patterns[];
extern const size_t n_read_patterns;

double read_rate(struct pool *p, const struct read_pattern *how, const void *at,
                 size_t n); // bytes/s
const struct read_pattern *best_read(struct pool *p, const void *at,
                                     size_t n); // of a few interleaved passes

/* Peaks of one instruction, from registers alone. */
enum peak {
    PEAK_FMA_AVX2,
    PEAK_FMA_AVX512,
    PEAK_DPBF16,
    PEAK_DPBUSD,
    PEAK_AMX_BF16,
    PEAK_AMX_INT8,
    PEAK_COUNT
};
extern const char *const peak_names[PEAK_COUNT];
bool peak_here(enum peak k);                   // whether this CPU has it
double peak_rate(struct pool *p, enum peak k); // operations/s, a multiply and an add being two
enum peak peak_of_isa(const char *isa);        // the multiply-add that LLM_ISA=isa is compared to
enum peak peak_of_integers(const char *isa);   // and its products of integer layouts

double median(double *x, size_t n); // sorts x

#endif
