/* Tests of the shim and of the stand-in: that they do what a GPU and its driver do, and that each
 * check fails where it should. A planted fault runs in a child, which has to end with the check's
 * words.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include "asan.h"
#include "shim.h"

#include "selftest.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <string>
#include <vector>

#ifndef RACES // kernels are compiled with -fsanitize=thread
#define RACES 0
#endif

extern "C" {
void test_barrier(const struct test_args &), test_order(const struct test_args &),
    test_shuffle(const struct test_args &);
void test_poison(const struct test_args &), test_mma(const struct test_args &),
    test_wgmma(const struct test_args &);
void test_bulk(const struct test_args &);
void test_copy(const struct test_args &), test_speed(const struct test_args &),
    test_first(const struct test_args &);
void test_next(const struct test_args &), test_fault(const struct test_args &);

int cuInit(unsigned), cuDeviceGet(int *, int), cuDeviceGetAttribute(int *, int, int),
    cuDevicePrimaryCtxRetain(void **, int);
int cuCtxSetCurrent(void *), cuCtxSynchronize(void), cuModuleLoadData(void **, const void *),
    cuModuleUnload(void *);
int cuModuleGetFunction(void **, void *, const char *), cuFuncSetAttribute(void *, int, int);
int cuMemAlloc_v2(unsigned long long *, size_t), cuMemFree_v2(unsigned long long),
    cuMemGetInfo_v2(size_t *, size_t *);
int cuMemcpyDtoH_v2(void *, unsigned long long, size_t),
    cuMemcpyHtoD_v2(unsigned long long, const void *, size_t);
int cuMemsetD32Async(unsigned long long, unsigned, size_t, void *),
    cuStreamCreate(void **, unsigned), cuStreamDestroy_v2(void *);
int cuStreamSynchronize(void *), cuStreamBeginCapture_v2(void *, int),
    cuStreamEndCapture(void *, void **);
int cuGraphInstantiateWithFlags(void **, void *, unsigned long long), cuGraphLaunch(void *, void *),
    cuGraphDestroy(void *);
int cuMemHostAlloc(void **, size_t, unsigned), cuMemFreeHost(void *),
    cuEventCreate(void **, unsigned), cuEventDestroy_v2(void *);
int cuEventRecord(void *, void *), cuEventQuery(void *), cuEventSynchronize(void *),
    cuStreamQuery(void *);
int cuEventElapsedTime_v2(float *, void *, void *),
    cuMemcpyHtoDAsync_v2(unsigned long long, const void *, size_t, void *);
int cuGraphExecDestroy(void *), cuMemcpyDtoHAsync_v2(void *, unsigned long long, size_t, void *);
int cuMemAddressReserve(unsigned long long *, size_t, size_t, unsigned long long,
                        unsigned long long);
int cuMemAddressFree(unsigned long long, size_t), cuMemUnmap(unsigned long long, size_t),
    cuMemRelease(unsigned long long);
int cuMemCreate(unsigned long long *, size_t, const void *, unsigned long long);
int cuMemMap(unsigned long long, size_t, size_t, unsigned long long, unsigned long long);
int cuMemSetAccess(unsigned long long, size_t, const void *, size_t);
int cuLaunchKernelEx(const void *, void *, void **, void **), cuGetErrorName(int, const char **);
}

static int n_tests, n_failed;

__attribute__((format(printf, 2, 3))) static void ok(bool good, const char *format, ...) {
    va_list list;
    va_start(list, format);
    printf("%sok %d ", good ? "" : "not ", ++n_tests);
    vprintf(format, list);
    printf("\n");
    va_end(list);
    fflush(stdout);
    n_failed += !good;
}

typedef void kernel(const struct test_args &);

static void launch(const char *name, kernel *k, const struct test_args *args, uint32_t grid,
                   uint32_t threads, uint32_t dynamic = 0) {
    struct shim_launch l = {};
    l.name = name;
    l.kernel = (void (*)(const void *))(void *)k;
    l.args = args;
    l.grid = {grid, 1, 1};
    l.block = {threads, 1, 1};
    l.dynamic = dynamic;
    shim_run(&l);
}
#define LAUNCH(k, ...) launch(#k, k, __VA_ARGS__)

static uint64_t seed = 88172645463325252;
static uint64_t bits(void) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}
static uint32_t f32_bits(float f) {
    return __float_as_uint(f);
}

/* ---- running ---- */

static void barriers(void) {
    const uint32_t rounds = 100, sizes[] = {256, 32, 100, 1};
    bool good = true;
    for (uint32_t n : sizes) {
        std::vector<uint32_t> out(3 * n);
        struct test_args args = {};
        args.out = out.data();
        args.rounds = rounds;
        LAUNCH(test_barrier, &args, 3, n);
        for (uint32_t i = 0; i < 3 * n; i++) {
            uint32_t sum = 0;
            for (uint32_t k = 0; k < rounds; k++)
                sum += k * n + (i % n + k + 1) % n;
            good &= out[i] == sum;
        }
    }
    ok(good, "barriers hold all threads back");
}

static void order(void) {
    bool good = true, mixed = false, differs = false;
    std::vector<uint32_t> before;
    for (uint32_t rounds = 0; rounds < 4; rounds++) {
        std::vector<uint32_t> out(2 + 512);
        struct test_args args = {};
        args.out = out.data();
        args.rounds = rounds & 1;
        LAUNCH(test_order, &args, 1, 256);
        std::vector<int> seen(512);
        for (uint32_t i = 0; i < 512; i++) {
            good &= out[2 + i] < 256 && !seen[i / 256 * 256 + out[2 + i]]++;
            mixed |= out[2 + i] != i % 256;
        }
        differs |= !before.empty() && before != out;
        before = out;
    }
    ok(good && mixed && differs, "threads run in some order, each once, never the same");
}

static void shuffles(void) {
    std::vector<uint32_t> out(64 * 8);
    struct test_args args = {};
    args.out = out.data();
    LAUNCH(test_shuffle, &args, 1, 64);
    bool good = true;
    for (uint32_t i = 0; i < 64; i++) {
        uint32_t l = i % 32, *o = &out[i * 8];
        const uint32_t expected[8] = {(l ^ 5) + 100,      l / 8 * 8 + 3, l + 4 < 32 ? l + 4 : l,
                                      l >= 4 ? l - 4 : l, 0x49249249,    l < 16 ? l ^ 1 : l ^ 2,
                                      l ? 0 : 0xffffffff, (uint32_t)-31};
        good &= !memcmp(o, expected, sizeof expected);
    }
    ok(good, "shuffles and votes, of a whole warp and of parts");
}

static void poison(void) {
    std::vector<uint32_t> out(4 * 256 * 2);
    struct test_args args = {};
    args.out = out.data();
    LAUNCH(test_poison, &args, 4, 256, 1024);
    bool good = true;
    for (uint32_t x : out)
        good &= x == 0xffffffff;
    ok(good, "shared memory is NaN when a block begins");
}

/* ---- numbers ---- */

static void conversions(void) {
    bool good = true;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = f32_of_f16((uint16_t)h);
        uint32_t exponent = h >> 10 & 31;
        double exact =
            ldexp((h & 0x3ff) + (exponent ? 1024 : 0), (int)(exponent ? exponent : 1) - 25) *
            (h >> 15 ? -1 : 1);
        if (exponent == 31)
            good &= (h & 0x3ff) ? f != f : f == (h >> 15 ? -INFINITY : INFINITY);
        else
            good &= (double)f == exact && pack_f16(f, 0) == h;
    }
    for (int i = 0; i < 1000000; i++) { // nearest, and even where two are
        float f = __uint_as_float((uint32_t)bits());
        if (f != f || fabsf(f) > 0x1.fep127f)
            continue;
        uint32_t h = pack_bf16(0, f) >> 16;
        double below = (double)__uint_as_float((h - 1) << 16),
               at = (double)__uint_as_float(h << 16),
               above = (double)__uint_as_float((h + 1) << 16), error = fabs(at - (double)f);
        if ((h & 0x7fff) && (h & 0x7fff) < 0x7f7f)
            good &= error <= fabs(below - (double)f) && error <= fabs(above - (double)f);
        float small = ldexpf(f, -((int)(f32_bits(f) >> 23 & 255) - 127) + (int)(bits() % 40) - 25);
        if (fabsf(small) > 65000 || small == 0)
            continue;
        h = pack_f16(small, 0);
        below = (double)f32_of_f16((uint16_t)(h - 1)), at = (double)f32_of_f16((uint16_t)h);
        above = (double)f32_of_f16((uint16_t)(h + 1)), error = fabs(at - (double)small);
        if (h & 0x7fff)
            good &= error <= fabs(below - (double)small) && error <= fabs(above - (double)small);
        good &= error * 2 != fabs(above - at) || !(h & 1);
    }
    good &= pack_bf16(__uint_as_float(0x3f808000), __uint_as_float(0x3f818000)) == 0x3f823f80;
    good &= pack_bf16(NAN, -NAN) == 0x7fff7fff && pack_bf16(INFINITY, -INFINITY) == 0xff807f80;
    good &= pack_bf16(3.4e38f, 0) == 0x7f80 && pack_f16(1e9f, -INFINITY) == 0xfbff7bff &&
            pack_f16(0x1p-25f, 0x1.8p-25f) == 0x10000;
    ok(good, "bf16 and f16 round to nearest even");
}

static double value_of(int f16, uint16_t h) {
    return (double)(f16 ? f32_of_f16(h) : __uint_as_float((uint32_t)h << 16));
}

static uint16_t random_element(int f16, int range) {
    float f = ldexpf((float)(int32_t)bits(), -31 + (int)(bits() % (unsigned)range) - range / 2);
    return (uint16_t)(f16 ? pack_f16(f, 0) : pack_bf16(f, 0));
}

static void products(int f16, int range) {
    std::vector<uint16_t> a(16 * 16), b(8 * 16);
    std::vector<float> d(16 * 8), c, turned;
    bool near = true, same = true;
    double worst = 0;
    for (int round = 0; round < 200; round++) {
        for (uint16_t &x : a)
            x = random_element(f16, range);
        for (uint16_t &x : b)
            x = random_element(f16, range);
        for (float &x : d)
            x = ldexpf((float)(int32_t)bits(), -31 + (int)(bits() % (unsigned)range) - range / 2);
        c = turned = d;
        struct test_args args = {};
        args.a = a.data(), args.b = b.data(), args.d = d.data(), args.f16 = (uint32_t)f16;
        LAUNCH(test_mma, &args, 1, 32);
        for (int i = 0; i < 16; i++)
            for (int j = 0; j < 8; j++) {
                double sum = (double)c[i * 8 + j], all = fabs(sum);
                for (int k = 0; k < 16; k++) {
                    double p = value_of(f16, a[i * 16 + k]) * value_of(f16, b[j * 16 + k]);
                    sum += p;
                    all += fabs(p);
                }
                double error = fabs((double)d[i * 8 + j] - sum) / all;
                worst = error > worst ? error : worst;
                near &= error <= 0x1p-22;
            }
        for (int i = 0; i < 16 + 8; i++) // k turned by 5 in both
            for (int k = 0; k < 16; k++) {
                std::vector<uint16_t> *m = i < 16 ? &a : &b;
                static uint16_t row[16];
                row[(k + 5) % 16] = (*m)[i % 16 * 16 + k];
                if (k == 15)
                    memcpy(&(*m)[i % 16 * 16], row, sizeof row);
            }
        args.d = turned.data();
        LAUNCH(test_mma, &args, 1, 32);
        same &= !memcmp(turned.data(), d.data(), d.size() * sizeof(float));
    }
    ok(near, "mma of %s over 2^%d is within 2^-22 (2^%.1f)", f16 ? "f16" : "bf16", range,
       log2(worst));
    ok(same, "mma of %s over 2^%d: the order of k does not matter", f16 ? "f16" : "bf16", range);
}

static float one_product(uint16_t a, uint16_t b, int n, float c, uint16_t last_a = 0,
                         uint16_t last_b = 0) {
    std::vector<uint16_t> va(16 * 16), vb(8 * 16);
    std::vector<float> d(16 * 8, c);
    for (int i = 0; i < n; i++)
        va[i] = a, vb[i] = b;
    if (last_a)
        va[15] = last_a, vb[15] = last_b;
    struct test_args args = {};
    args.a = va.data(), args.b = vb.data(), args.d = d.data();
    LAUNCH(test_mma, &args, 1, 32);
    return d[0];
}

static void cuts(void) {
    const uint16_t one = 0x3f80, minus = 0xbf80, inf = 0x7f80, nan = 0x7fc0, zero = 0;
    auto power = [](int e) { return (uint16_t)((e + 127) << 7); };
    bool good =
        one_product(one, power(-25), 4, 1) == 1 + 0x1p-23f; // four last places make one of f32
    good &= one_product(one, power(-26), 15, 1) == 1;       // each is cut away
    good &= one_product(minus, power(-25), 1, 1) == 1 - 0x1p-24f; // cut toward zero
    good &= one_product(minus, power(-25), 1, -1) == -1;
    good &= one_product(power(-70), power(-70), 1, 0) == 0x1p-140f; // subnormal
    good &= one_product(power(-75), power(-75), 1, 0) == 0;
    good &= one_product(power(100), power(100), 1, 0) == INFINITY;
    ok(good, "a term is cut 25 places below the largest, the sum toward zero");
    good = one_product(inf, one, 1, 1) == INFINITY && one_product(inf, minus, 1, 1) == -INFINITY;
    good &= f32_bits(one_product(inf, zero, 1, 1)) == 0x7fffffff &&
            f32_bits(one_product(nan, one, 1, 1)) == 0x7fffffff;
    good &= one_product(one, one, 1, -INFINITY) == -INFINITY &&
            f32_bits(one_product(inf, one, 1, -INFINITY)) == 0x7fffffff;
    good &= f32_bits(one_product(inf, one, 1, 1, inf, minus)) == 0x7fffffff &&
            f32_bits(one_product(0, 0, 1, 0)) == 0;
    ok(good, "infinities and NaN in an mma");
}

static void wgmmas(void) {
    std::vector<uint16_t> a(64 * 32), b(128 * 32), ta(16 * 16), tb(8 * 16);
    std::vector<float> d(64 * 128), c, tile(16 * 8);
    for (uint16_t &x : a)
        x = random_element(0, 8);
    for (uint16_t &x : b)
        x = random_element(0, 8);
    for (float &x : d)
        x = ldexpf((float)(int32_t)bits(), -31);
    c = d;
    struct test_args args = {};
    args.a = a.data(), args.b = b.data(), args.d = d.data();
    LAUNCH(test_wgmma, &args, 1, 128, 2 * 8192);
    bool good = true;
    for (int i = 0; i < 64; i += 16)
        for (int j = 0; j < 128; j += 8) {
            for (int x = 0; x < 128; x++)
                tile[x] = c[(i + x / 8) * 128 + j + x % 8];
            for (int step = 0; step < 2; step++) {
                for (int x = 0; x < 256; x++)
                    ta[x] = a[(i + x / 16) * 32 + step * 16 + x % 16];
                for (int x = 0; x < 128; x++)
                    tb[x] = b[(j + x / 16) * 32 + step * 16 + x % 16];
                args.a = ta.data(), args.b = tb.data(), args.d = tile.data();
                LAUNCH(test_mma, &args, 1, 32);
            }
            for (int x = 0; x < 128; x++)
                good &= f32_bits(tile[x]) == f32_bits(d[(i + x / 8) * 128 + j + x % 8]);
        }
    ok(good, "wgmma has the bits of mma");
}

static void run_bulk(const struct test_args *args) {
    LAUNCH(test_bulk, args, 1, 64, 3 * 1024);
}

static void copies(void) {
    std::vector<uint32_t> in(256 * 20 + 4), out(64);
    struct test_args args = {};
    uint32_t *aligned = (uint32_t *)(((uintptr_t)in.data() + 15) & ~(uintptr_t)15), sum = 0,
             total = 0;
    for (uint32_t i = 0; i < 256 * 20; i++)
        sum += aligned[i] = (uint32_t)bits();
    args.out = out.data(), args.in = aligned, args.rounds = 20;
    LAUNCH(test_copy, &args, 1, 64, 4096);
    for (uint32_t x : out)
        total += x;
    ok(sum == total, "copies arrive at their wait");
    run_bulk(&args);
    total = 0;
    for (uint32_t x : out)
        total += x;
    ok(sum == total, "bulk copies arrive at their wait");
}

/* ---- faults ---- */

struct child {
    int status;
    std::string text;
};

template <typename work> static struct child in_child(work do_work) {
    int p[2];
    struct child c = {-1, ""};
    if (pipe(p))
        return c;
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(p[1], 2);
        dup2(p[1], 1);
        close(p[0]);
        close(p[1]);
        do_work();
        fflush(NULL);
        _exit(0);
    }
    close(p[1]);
    char buffer[4096];
    ssize_t n;
    while ((n = read(p[0], buffer, sizeof buffer)) > 0)
        c.text.append(buffer, (size_t)n);
    close(p[0]);
    waitpid(pid, &c.status, 0);
    return c;
}

static void report(bool good, const struct child *c, const char *name) {
    ok(good, "%s", name);
    if (good)
        return;
    printf("# status %d\n# ", c->status);
    for (char x : c->text) {
        putchar(x);
        if (x == '\n')
            printf("# ");
    }
    printf("\n");
}

template <typename work> static void dies(const char *name, const char *words, work do_work) {
    struct child c = in_child(do_work);
    report(c.status && c.text.find(words) != std::string::npos, &c, name);
}
template <typename work> static void lives(const char *name, work do_work) {
    struct child c = in_child(do_work);
    report(!c.status, &c, name);
}

static void run_fault(enum test_fault which) {
    uint32_t *out = (uint32_t *)malloc(64 * 4), *in = (uint32_t *)aligned_alloc(16, 65 * 16 + 16);
    memset(in, 0, 65 * 16);
    struct test_args args = {};
    args.out = out, args.in = in, args.which = which;
    LAUNCH(test_fault, &args, 1, 64, 1024);
    bool nan = false;
    for (int i = 0; i < 64; i++)
        nan |= out[i] == 0xffffffff;
    if (nan)
        printf("NaN arrived\n");
    free(out);
    free(in);
    exit(nan ? 1 : 0);
}

static void faults(void) {
    const struct {
        enum test_fault which;
        bool races_only;
        const char *words, *name;
    } list[] = {
        {FAULT_RACE_WRITE_READ, true, "race: static shared memory",
         "a read of what another warp writes"},
        {FAULT_RACE_READ_WRITE, true, "race: static shared memory",
         "a write of what another warp reads"},
        {FAULT_RACE_HALVES, true, "race: static shared memory", "two writes of half a word"},
        {FAULT_RACE_WARP, true, "race: static shared memory", "a race inside a warp"},
        {FAULT_COPY_WAIT, false, RACES ? "copy_wait is missing" : "NaN arrived",
         "a missing copy_wait"},
        {FAULT_COPY_GROUP, false, RACES ? "copy_wait is missing" : "NaN arrived",
         "a copy_wait that is short by a group"},
        {FAULT_COPY_BARRIER, true, "race: dynamic shared memory",
         "a missing barrier after copy_wait"},
        {FAULT_COPY_ALIGNMENT, false, "not a multiple of 16", "copy_16 from an odd address"},
        {FAULT_DEADLOCK, false, "deadlock: 1 of 64 threads have ended",
         "a barrier that one thread misses"},
        {FAULT_DEADLOCK_WARP, false, "deadlock", "a warp's barrier that one lane misses"},
        {FAULT_MASK, false, "its own lane is not in the mask", "a mask without its own lane"},
        {FAULT_DYNAMIC_END, false, ASAN ? "heap-buffer-overflow" : "of dynamic shared memory",
         "a write past dynamic shared memory"},
        {FAULT_ALIGNMENT, false, "not aligned", "a wide load from an odd address"},
        {FAULT_LOAD_SHARED, false, "from shared memory", "a global load from shared memory"},
        {FAULT_GRID_WAIT, false, "32 of 64 threads called grid_wait",
         "grid_wait in half of a block"},
    };
    lives("what is no fault passes", [] { run_fault(FAULT_NONE); });
    for (const auto &f : list) {
        std::string name = std::string("found: ") + f.name;
        if (RACES || !f.races_only)
            dies(name.c_str(), f.words, [&] { run_fault(f.which); });
    }
    if (ASAN)
        dies("found: a write past global memory", "heap-buffer-overflow",
             [] { run_fault(FAULT_GLOBAL_END); });

    const struct {
        enum test_wgmma which;
        bool races_only;
        const char *words, *name;
    } more[] = {
        {WGMMA_NO_WAIT, false, "ended before the wgmma_wait", "found: a missing wgmma_wait"},
        {WGMMA_NO_FENCE, false, "without wgmma_fence", "found: a missing wgmma_fence"},
        {WGMMA_NO_FENCE_SHARED, true, "no fence_shared before wgmma reads it",
         "found: a missing fence_shared"},
        // A race with a warp that has read it, or no fence before one that reads it later: the
        // order of warps, which the seed decides.
        {WGMMA_OVERWRITTEN, false,
         RACES ? "dynamic shared memory, byte 32: " : "changed between a wgmma that reads it",
         "found: a tile overwritten too early"},
        {WGMMA_REGISTERS, false, "registers changed", "found: weights overwritten too early"},
    };
    const struct {
        enum test_bulk which;
        uint32_t rounds;
        bool races_only;
        const char *words, *name;
    } bulk[] = {
        {BULK_NO_WAIT, 3, true, "bulk_copy of thread 0 is under way: barrier_wait is missing",
         "found: a missing barrier_wait"},
        {BULK_NO_SYNC, 20, true, "use of an mbarrier",
         "found: an mbarrier used before all know it"},
        {BULK_NOT_READY, 20, false, "no barriers_ready", "found: a missing barriers_ready"},
        {BULK_OVERWRITTEN, 20, true, "dynamic shared memory, byte",
         "found: a copy over what is still read"},
        {BULK_FEWER, 20, false, "more bytes are copied", "found: a copy that was not announced"},
        {BULK_LEFT, 3, false, "ended while bulk copies were under way",
         "found: copies that nobody waits for"},
    };
    for (const auto &f : bulk)
        if (RACES || !f.races_only)
            dies(f.name, f.words, [&] {
                std::vector<uint32_t> in(256 * 20 + 4), out(64);
                struct test_args args = {};
                args.in = (const void *)(((uintptr_t)in.data() + 15) & ~(uintptr_t)15);
                args.out = out.data(), args.which = f.which, args.rounds = f.rounds;
                run_bulk(&args);
            });
    for (const auto &f : more)
        if (RACES || !f.races_only)
            dies(f.name, f.words, [&] {
                std::vector<uint16_t> a(64 * 32, 0x3f80), b(128 * 32, 0x3f80);
                std::vector<float> d(64 * 128);
                struct test_args args = {};
                args.a = a.data(), args.b = b.data(), args.d = d.data(), args.which = f.which;
                LAUNCH(test_wgmma, &args, 1, 128, 2 * 8192);
            });
}

/* ---- the stand-in ---- */

struct config {
    unsigned grid[3], block[3], shared;
    void *stream;
    const void *attributes;
    unsigned n_attributes;
};
struct attribute {
    int id, pad, value;
    char rest[60];
};

static void *context, *module_, *stream;

static int start(void) {
    int dev, code = cuInit(0);
    char image = 0;
    if (!code)
        code = cuDeviceGet(&dev, 0);
    if (!code)
        code = cuDevicePrimaryCtxRetain(&context, dev);
    if (!code)
        code = cuCtxSetCurrent(context);
    if (!code)
        code = cuModuleLoadData(&module_, &image);
    if (!code)
        code = cuStreamCreate(&stream, 1);
    return code;
}

static int go(const char *name, struct test_args args, unsigned grid, unsigned threads,
              unsigned shared = 0, bool early = false) {
    void *function, *params[] = {&args};
    int code = cuModuleGetFunction(&function, module_, name);
    struct attribute a = {6, 0, 1, {0}};
    struct config c = {{grid, 1, 1}, {threads, 1, 1}, shared, stream, early ? &a : NULL, early};
    return code ? code : cuLaunchKernelEx(&c, function, params, NULL);
}

#define EXPECT(x)                                                                                  \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            printf("line %d: %s\n", __LINE__, #x);                                                 \
            fflush(NULL);                                                                          \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static void standin_tests(void) {
    lives("stand-in: memory, launches, their limits", [] {
        unsigned long long p, q;
        uint32_t out[512];
        size_t free_bytes, total;
        setenv("CUDA_STANDIN_MEMORY", "100000", 1);
        EXPECT(cuMemAlloc_v2(&p, 4) == 3);
        EXPECT(start() == 0);
        EXPECT(cuMemAlloc_v2(&p, 2048) == 0 && cuMemAlloc_v2(&q, 98000) == 2);
        EXPECT(cuMemGetInfo_v2(&free_bytes, &total) == 0 && total == 100000 &&
               free_bytes == total - 2048);
        EXPECT(cuMemcpyDtoH_v2(out, p, 2048) == 0 && out[0] == 0xffffffff &&
               out[511] == 0xffffffff);
        EXPECT(cuMemcpyDtoH_v2(out, p + 1024, 1025) == 1);
        struct test_args args = {};
        args.out = (uint32_t *)(uintptr_t)p, args.rounds = 10;
        EXPECT(go("test_barrier", args, 2, 256) == 0 && cuStreamSynchronize(stream) == 0);
        EXPECT(cuMemcpyDtoH_v2(out, p, 2048) == 0 && out[0] == 256 * 45 + 55 && out[256] == out[0]);
        EXPECT(go("test_barrier", args, 2, 257) == 1 && go("test_barrier", args, 0, 1) == 1 &&
               go("test_none", args, 1, 1) == 500);
        EXPECT(go("malloc", args, 1, 1) == 500);
        EXPECT(go("test_barrier", args, 1, 1, 48 * 1024) == 0 &&
               go("test_barrier", args, 1, 1, 48 * 1024 + 1) == 1);
        void *f;
        EXPECT(cuModuleGetFunction(&f, module_, "test_barrier") == 0);
        EXPECT(cuFuncSetAttribute(f, 8, 228 * 1024) == 1 &&
               cuFuncSetAttribute(f, 8, 227 * 1024) == 0);
        EXPECT(go("test_barrier", args, 1, 1, 227 * 1024) == 0);
        EXPECT(cuMemFree_v2(p + 1) == 1 && cuMemFree_v2(p) == 0 && cuMemFree_v2(p) == 1);
    });
    lives("stand-in: virtual memory", [] {
        const size_t g = 2 << 20;
        unsigned long long p, h, h2;
        size_t free_bytes, total;
        struct {
            int type, handles, where, id;
            void *w;
            char flags[8];
        } prop = {1, 0, 1, 0, NULL, {0}};
        int access[3] = {1, 0, 3};
        uint32_t x = 0;
        EXPECT(start() == 0 && cuMemAddressReserve(&p, 4 * g, 0, 0, 0) == 0 &&
               cuMemCreate(&h, g, &prop, 0) == 0);
        EXPECT(cuMemcpyDtoH_v2(&x, p, 4) == 1 && cuMemMap(p + g, g, 0, h, 0) == 0 &&
               cuMemMap(p + g, g, 0, h, 0) == 1);
        EXPECT(cuMemcpyDtoH_v2(&x, p + g, 4) == 1 && cuMemSetAccess(p + g, g, access, 1) == 0);
        EXPECT(cuMemcpyDtoH_v2(&x, p + g, 4) == 0 && x == 0xffffffff);
        x = 7;
        EXPECT(cuMemcpyHtoD_v2(p + g, &x, 4) == 0 && cuMemCreate(&h2, g, &prop, 0) == 0 &&
               cuMemMap(p + 2 * g, g, 0, h2, 0) == 0);
        EXPECT(cuMemSetAccess(p + 2 * g, g, access, 1) == 0 &&
               cuMemsetD32Async(p + g + 4, 9, g / 4, stream) == 0);
        EXPECT(cuMemcpyDtoH_v2(&x, p + 2 * g, 4) == 0 && x == 9 &&
               cuMemcpyDtoH_v2(&x, p + g, 4) == 0 && x == 7);
        EXPECT(cuMemAddressFree(p, 4 * g) == 1 && cuMemRelease(h) == 0 &&
               cuMemGetInfo_v2(&free_bytes, &total) == 0);
        EXPECT(free_bytes == total - 2 * g && cuMemUnmap(p, 4 * g) == 0 &&
               cuMemGetInfo_v2(&free_bytes, &total) == 0);
        EXPECT(free_bytes == total - g && cuMemRelease(h2) == 0 && cuMemAddressFree(p, 4 * g) == 0);
        EXPECT(cuMemGetInfo_v2(&free_bytes, &total) == 0 && free_bytes == total);
    });
    lives("stand-in: graphs", [] {
        unsigned long long p, q;
        uint32_t out[64];
        void *graph = NULL, *exec;
        EXPECT(start() == 0 && cuMemAlloc_v2(&p, 256) == 0);
        struct test_args args = {};
        args.out = (uint32_t *)(uintptr_t)p, args.which = 5;
        EXPECT(cuStreamBeginCapture_v2(stream, 1) == 0 && go("test_first", args, 1, 64) == 0);
        args.which = 0;
        EXPECT(go("test_next", args, 1, 64, 0, true) == 0 &&
               cuMemcpyDtoHAsync_v2(out, p, 256, stream) == 0);
        args.out = NULL;
        EXPECT(cuStreamEndCapture(stream, &graph) == 0 && graph);
        memset(out, 0, sizeof out);
        EXPECT(cuGraphInstantiateWithFlags(&exec, graph, 0) == 0 && cuGraphDestroy(graph) == 0);
        for (int i = 0; i < 3; i++) {
            EXPECT(cuMemsetD32Async(p, 0, 64, stream) == 0);
            memset(out, 0, sizeof out);
            EXPECT(cuGraphLaunch(exec, stream) == 0 && cuStreamSynchronize(stream) == 0);
            for (uint32_t k = 0; k < 64; k++)
                EXPECT(out[k] == 5 + k + 1);
        }
        EXPECT(cuGraphExecDestroy(exec) == 0 && cuGraphLaunch(exec, stream) == 400);
        // What cannot be captured spoils the capture.
        for (int i = 0; i < 4; i++) {
            EXPECT(cuStreamBeginCapture_v2(stream, i % 2) == 0);
            int code = i == 0   ? cuMemAlloc_v2(&q, 4)
                       : i == 1 ? cuStreamSynchronize(stream)
                       : i == 2 ? cuCtxSynchronize()
                                : cuMemcpyDtoH_v2(out, p, 4);
            EXPECT(code == (i == 3 ? 906 : 900) && cuMemsetD32Async(p, 0, 64, stream) == 901);
            EXPECT(cuStreamEndCapture(stream, &graph) == 901 && !graph);
        }
        EXPECT(cuStreamSynchronize(stream) == 0 && cuModuleUnload(module_) == 0 &&
               cuStreamDestroy_v2(stream) == 0);
        EXPECT(cuStreamSynchronize(stream) == 400);
    });
    lives("stand-in: a stream is late", [] {
        unsigned long long p;
        uint32_t *pinned, pageable = 1;
        void *a, *b;
        float ms;
        EXPECT(start() == 0 && cuMemAlloc_v2(&p, 256) == 0 &&
               cuMemHostAlloc((void **)&pinned, 256, 0) == 0);
        EXPECT(cuEventCreate(&a, 0) == 0 && cuEventCreate(&b, 0) == 0 &&
               cuEventRecord(a, stream) == 0);
        pinned[0] = 1;
        EXPECT(cuMemcpyHtoDAsync_v2(p, pinned, 4, stream) == 0);
        pinned[0] = 2; // too early
        EXPECT(cuMemcpyDtoHAsync_v2(pinned + 1, p, 4, stream) == 0 && pinned[1] == 0xffffffff &&
               cuEventRecord(b, stream) == 0);
        EXPECT(cuEventElapsedTime_v2(&ms, a, b) == 600 && cuEventQuery(b) == 600 &&
               cuEventQuery(b) == 0 && pinned[1] == 2);
        EXPECT(cuEventElapsedTime_v2(&ms, a, b) == 0 && ms >= 0 && cuEventSynchronize(a) == 0);
        EXPECT(cuMemcpyHtoDAsync_v2(p, &pageable, 4, stream) == 0);
        pageable = 3; // has been read
        EXPECT(cuMemcpyDtoHAsync_v2(pinned, p, 4, stream) == 0 && cuStreamQuery(stream) == 600 &&
               cuStreamQuery(stream) == 0);
        EXPECT(pinned[0] == 1 && cuMemFreeHost(pinned) == 0 && cuEventDestroy_v2(a) == 0 &&
               cuEventDestroy_v2(b) == 0);
    });
    lives("stand-in: a launch that begins early waits at grid_wait", [] {
        unsigned long long p;
        uint32_t out[256];
        bool good = true;
        EXPECT(start() == 0 && cuMemAlloc_v2(&p, 1024) == 0);
        struct test_args first = {}, next = {};
        first.out = next.out = (uint32_t *)(uintptr_t)p;
        for (int i = 0; i < 20; i++) {
            EXPECT(cuMemsetD32Async(p, 0, 256, stream) == 0 && go("test_first", first, 4, 64) == 0);
            for (int k = 0; k < 4; k++)
                EXPECT(go("test_next", next, 4, 64, 0, true) == 0);
            EXPECT(cuMemcpyDtoH_v2(out, p, 1024) == 0);
            for (uint32_t k = 0; k < 256; k++)
                good &= out[k] == 63 - k % 64 + 4;
        }
        EXPECT(good);
    });
    dies("stand-in: a launch that reads too early reads other values", "too early", [] {
        unsigned long long p;
        uint32_t out[64];
        EXPECT(start() == 0 && cuMemAlloc_v2(&p, 256) == 0);
        struct test_args first = {}, next = {};
        first.out = next.out = (uint32_t *)(uintptr_t)p, next.which = 1;
        for (int i = 0; i < 20; i++) {
            EXPECT(cuMemsetD32Async(p, 0, 64, stream) == 0 && go("test_first", first, 1, 64) == 0);
            EXPECT(go("test_next", next, 1, 64, 0, true) == 0 && cuMemcpyDtoH_v2(out, p, 256) == 0);
            if (out[63] != 2 * 63 + 1)
                printf("too early\n"), fflush(NULL), _exit(1);
        }
    });
    lives("stand-in: no device, no image, a lost device", [] {
        setenv("CUDA_STANDIN_DEVICES", "0", 1);
        EXPECT(start() == 100);
        setenv("CUDA_STANDIN_DEVICES", "1", 1);
        setenv("CUDA_STANDIN_NO_IMAGE", "1", 1);
        setenv("CUDA_STANDIN_LOST", "2", 1);
        setenv("CUDA_STANDIN_SM", "86", 1);
        EXPECT(start() == 209);
        int major, minor;
        const char *name;
        EXPECT(cuDeviceGetAttribute(&major, 75, 0) == 0 &&
               cuDeviceGetAttribute(&minor, 76, 0) == 0 && major == 8 && minor == 6);
        EXPECT(cuGetErrorName(719, &name) == 0 && !strcmp(name, "CUDA_ERROR_LAUNCH_FAILED"));
    });
    lives("stand-in: a device that is lost stays so", [] {
        unsigned long long p;
        setenv("CUDA_STANDIN_LOST", "2", 1);
        EXPECT(start() == 0 && cuMemAlloc_v2(&p, 256) == 0);
        struct test_args args = {};
        args.out = (uint32_t *)(uintptr_t)p;
        EXPECT(go("test_first", args, 1, 64) == 0 && cuStreamSynchronize(stream) == 0 &&
               go("test_first", args, 1, 64) == 719);
        EXPECT(cuStreamSynchronize(stream) == 719 && cuMemFree_v2(p) == 719);
    });
    dies("stand-in: a write past device memory",
         ASAN ? "heap-buffer-overflow" : "was written past its end", [] {
             unsigned long long p;
             EXPECT(start() == 0 && cuMemAlloc_v2(&p, 64 * 4) == 0);
             struct test_args args = {};
             args.out = (uint32_t *)(uintptr_t)p, args.which = FAULT_GLOBAL_END;
             EXPECT(go("test_fault", args, 1, 64, 1024) == 0 && cuCtxSynchronize() == 0);
         });
}

/* ---- speed ---- */

static void speed(void) {
    const char *const what[] = {"barriers", "shuffles", "mma, of a warp,"};
    for (uint32_t which = 0; which < 3; which++) {
        uint32_t out[256], rounds = which == 2 ? 20000 : 4000, threads = which == 2 ? 32 : 256;
        struct test_args args = {};
        args.out = out, args.rounds = rounds, args.which = which;
        struct timespec a, b;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
        LAUNCH(test_speed, &args, 1, threads);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
        double s = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
        printf("# %s a second: %.1f million\n", what[which],
               rounds * (which == 2 ? 1 : threads) / s * 1e-6);
    }
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "speed"))
        return speed(), 0;
    barriers();
    order();
    shuffles();
    poison();
    conversions();
    products(0, 1);
    products(0, 20);
    products(0, 100);
    products(1, 1);
    products(1, 20);
    cuts();
    wgmmas();
    copies();
    faults();
    standin_tests();
    speed();
    printf("1..%d\n", n_tests);
    return n_failed != 0;
}
