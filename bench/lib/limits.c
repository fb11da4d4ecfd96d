/* The machine's limits: see limits.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "limits.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/big_pages.h"
#include "kernels/amx.h"
#include "kernels/isa.h"
#include "kernels/tile.h"
#include "kernels/x86.h"

double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, by_value);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

void fill_bf16(void *p, size_t n) {
    uint64_t *u = p, s = 88172645463325252u;
    for (size_t i = 0; i < n / 8; i++) {
        s ^= s << 13;
        s ^= s >> 7;
        s ^= s << 17;
        // four BF16 with random signs and fractions, exponents of 1/4 or 1/2
        u[i] = (s & 0x80FF80FF80FF80FF) | 0x3E003E003E003E00;
    }
}

const void *memory_take(enum memory m, size_t n) {
    n = (n + BIG_PAGE - 1) / BIG_PAGE * BIG_PAGE;
    if (m == MEMORY_HUGE) {
        void *p = big_pages_map(n);
        if (!p) {
            perror("bench: mmap");
            return NULL;
        }
        fill_bf16(p, n);
        return p;
    }
    const char *dir = getenv("TMPDIR");
    char path[4096];
    snprintf(path, sizeof path, "%s/tokpipe-bench-XXXXXX", dir ? dir : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0) {
        perror(path);
        return NULL;
    }
    unlink(path);
    size_t chunk = (size_t)1 << 24;
    void *b = malloc(chunk);
    bool ok = b != NULL;
    if (ok)
        fill_bf16(b, chunk);
    for (size_t at = 0; ok && at < n; at += chunk)
        ok = write(fd, b, n - at < chunk ? n - at : chunk) > 0;
    free(b);
    void *p = ok ? mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    close(fd);
    if (p == MAP_FAILED) {
        perror("bench: a temporary file");
        return NULL;
    }
    return p;
}

const struct read_pattern read_patterns[] = {
    {"1 stream", 1, 0},
    {"1 stream, prefetch 1 KB", 1, 1024},
    {"1 stream, prefetch 4 KB", 1, 4096},
    {"2 streams", 2, 0},
    {"4 streams", 4, 0},
    {"4 streams, prefetch 512 B", 4, 512},
    {"8 streams of 4 KB", 8, 0},
};
const size_t n_read_patterns = sizeof read_patterns / sizeof *read_patterns;

struct read_job {
    const struct read_pattern *how;
    const unsigned char *at;
};

typedef uint64_t words __attribute__((vector_size(32), aligned(32)));

/* A piece of READ_PIECE bytes as `streams` equal parts side by side; 128 bytes of each in turn. */
enum { READ_PIECE = 1 << 17 };
static inline __attribute__((always_inline)) void read_streams(const unsigned char *p,
                                                               size_t streams, size_t ahead) {
    words s[4] = {{0}};
    size_t part = READ_PIECE / streams;
    for (size_t i = 0; i < part; i += 128)
        for (size_t k = 0; k < streams; k++) {
            const unsigned char *at = p + k * part + i;
            const words *w = (const words *)(const void *)at;
            if (ahead) {
                __builtin_prefetch(at + ahead);
                __builtin_prefetch(at + ahead + 64);
            }
            for (size_t j = 0; j < 4; j++)
                s[j] += w[j];
        }
    s[0] += s[1] + s[2] + s[3];
    __asm__ volatile("" ::"m"(s)); // keeps the sum
}

#if defined(__x86_64__)
__attribute__((target("avx2")))
#endif
static void
read_piece(const struct read_pattern *how, const unsigned char *p) {
    size_t ahead = how->prefetch;
    switch (how->streams) {
    case 1:
        if (ahead)
            read_streams(p, 1, ahead);
        else
            read_streams(p, 1, 0);
        break;
    case 2:
        read_streams(p, 2, 0);
        break;
    case 4:
        if (ahead)
            read_streams(p, 4, ahead);
        else
            read_streams(p, 4, 0);
        break;
    default:
        read_streams(p, 8, 0);
    }
}

static void run_read(void *arg, size_t begin, size_t end, size_t thread) {
    const struct read_job *j = arg;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        read_piece(j->how, j->at + i * READ_PIECE);
}

double read_rate(struct pool *p, const struct read_pattern *how, const void *at, size_t n) {
    struct read_job j = {how, at};
    double t = seconds();
    pool_run(p, run_read, &j, n / READ_PIECE, 1);
    return (double)(n / READ_PIECE * READ_PIECE) / (seconds() - t);
}

const struct read_pattern *best_read(struct pool *p, const void *at, size_t n) {
    enum { PASSES = 5, MAX_PATTERNS = 16 };
    double rate[MAX_PATTERNS][PASSES];
    size_t best = 0;
    for (size_t r = 0; r < PASSES; r++)
        for (size_t i = 0; i < n_read_patterns; i++)
            rate[i][r] = read_rate(p, &read_patterns[i], at, n);
    for (size_t i = 0; i < n_read_patterns; i++)
        if (median(rate[i], PASSES) > median(rate[best], PASSES))
            best = i;
    return &read_patterns[best];
}

enum peak peak_of_isa(const char *isa) {
    return strcmp(isa, "amx") == 0                                              ? PEAK_AMX_BF16
           : strcmp(isa, "avx512bf16") == 0                                     ? PEAK_DPBF16
           : strncmp(isa, "avx512", 6) == 0 || strcmp(isa, "amx-emulated") == 0 ? PEAK_FMA_AVX512
                                                                                : PEAK_FMA_AVX2;
}

enum peak peak_of_integers(const char *isa) {
    return strcmp(isa, "amx") == 0  ? PEAK_AMX_INT8
           : peak_here(PEAK_DPBUSD) ? PEAK_DPBUSD
                                    : peak_of_isa(isa);
}

const char *const peak_names[PEAK_COUNT] = {"f32 FMA, AVX2",      "f32 FMA, AVX-512",
                                            "vdpbf16ps, AVX-512", "vpdpbusd, AVX-512",
                                            "tdpbf16ps, AMX",     "tdpbusd, AMX"};

#if KERNELS_X86
enum { PEAK_STEPS = 200000, CHAINS = 12, CHAINS_512 = 24 };

/* Enough chains of one instruction to hide its latency. "+v" keeps the compiler from optimising
 * them away, and unrolled loops keep them in registers. */
#define PEAK(name, isa, vec, init, n_chains, step)                                                 \
    __attribute__((target(isa))) static void name(void) {                                          \
        vec s[n_chains], x = init, y = init;                                                       \
        __asm__ volatile("" : "+v"(x), "+v"(y));                                                   \
        _Pragma("GCC unroll 24") for (size_t c = 0; c < n_chains; c++) {                           \
            s[c] = init;                                                                           \
            __asm__ volatile("" : "+v"(s[c]));                                                     \
        }                                                                                          \
        for (size_t i = 0; i < PEAK_STEPS; i++)                                                    \
            _Pragma("GCC unroll 24") for (size_t c = 0; c < n_chains; c++) s[c] =                  \
                step(s[c], x, y);                                                                  \
        _Pragma("GCC unroll 24") for (size_t c = 0; c < n_chains;                                  \
                                      c++) __asm__ volatile("" ::"v"(s[c]));                       \
    }
#define FMA_STEP(s, x, y)    _mm256_fmadd_ps(x, y, s)
#define FMA512_STEP(s, x, y) _mm512_fmadd_ps(x, y, s)
#define DPBF16_STEP(s, x, y) _mm512_dpbf16_ps(s, (__m512bh)(x), (__m512bh)(y))
PEAK(peak_fma, "avx2,fma", __m256, _mm256_set1_ps(0.5f), CHAINS, FMA_STEP)
PEAK(peak_fma512, "avx512f", __m512, _mm512_set1_ps(0.5f), CHAINS_512, FMA512_STEP)
PEAK(peak_dpbf16, "avx512f,avx512bf16", __m512, _mm512_set1_ps(0.5f), CHAINS_512, DPBF16_STEP)
PEAK(peak_dpbusd, "avx512f,avx512vnni", __m512i, _mm512_set1_epi32(0x01010101), CHAINS_512,
     _mm512_dpbusd_epi32)

/* Four tiles of sums; a tile has 16 x 16, and an instruction adds 32 bf16 or 64 int8 to each. */
#if KERNELS_AMX
#define PEAK_AMX(name, step)                                                                       \
    AMX static void name(void) {                                                                   \
        const unsigned char zeros[TILE_ROWS * TILE_BYTES] = {0};                                   \
        TILE_SHAPE(TILE_ROWS, TILE_COLS);                                                          \
        TILE_ZERO(0);                                                                              \
        TILE_ZERO(1);                                                                              \
        TILE_ZERO(2);                                                                              \
        TILE_ZERO(3);                                                                              \
        TILE_LOAD(4, zeros, TILE_BYTES);                                                           \
        TILE_LOAD(5, zeros, TILE_BYTES);                                                           \
        TILE_LOAD(6, zeros, TILE_BYTES);                                                           \
        TILE_LOAD(7, zeros, TILE_BYTES);                                                           \
        for (size_t i = 0; i < PEAK_STEPS; i++) {                                                  \
            step(0, 4, 6);                                                                         \
            step(1, 4, 7);                                                                         \
            step(2, 5, 6);                                                                         \
            step(3, 5, 7);                                                                         \
        }                                                                                          \
        amx_release();                                                                             \
    }
PEAK_AMX(peak_amx_bf16, TILE_DP_BF16)
PEAK_AMX(peak_amx_int8, TILE_DP_US)
#else
#define peak_amx_bf16 NULL
#define peak_amx_int8 NULL
#endif

static void (*const peaks[PEAK_COUNT])(void) = {peak_fma,    peak_fma512,   peak_dpbf16,
                                                peak_dpbusd, peak_amx_bf16, peak_amx_int8};
static const double peak_ops[PEAK_COUNT] = {
    CHAINS * 16.0,      CHAINS_512 * 32.0,  CHAINS_512 * 64.0,
    CHAINS_512 * 128.0, 4.0 * 16 * 16 * 64, 4.0 * 16 * 16 * 128,
};

bool peak_here(enum peak k) {
    switch (k) {
    case PEAK_FMA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case PEAK_FMA_AVX512:
        return __builtin_cpu_supports("avx512f");
    case PEAK_DPBF16:
        return __builtin_cpu_supports("avx512bf16");
    case PEAK_DPBUSD:
        return __builtin_cpu_supports("avx512vnni");
    default: {
        const struct isa_cpu c = isa_cpu();
        return KERNELS_AMX && c.amx && !c.amx_refused;
    }
    }
}

static void run_peak(void *arg, size_t begin, size_t end, size_t thread) {
    (void)begin, (void)end, (void)thread;
    peaks[*(enum peak *)arg]();
}

double peak_rate(struct pool *p, enum peak k) {
    double n = (double)pool_threads(p), t = seconds();
    pool_run(p, run_peak, &k, pool_threads(p), 1);
    return n * PEAK_STEPS * peak_ops[k] / (seconds() - t);
}
#else
bool peak_here(enum peak k) {
    (void)k;
    return false;
}
double peak_rate(struct pool *p, enum peak k) {
    (void)p, (void)k;
    return 0;
}
#endif
