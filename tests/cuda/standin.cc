/* A stand-in for libcuda.so.1: the functions of the CUDA driver that common/backend/cuda calls,
 * over kernels that shim.cc runs on the host. Built with shim.cc and the .cu files into a library
 * of that name, so that the whole backend is tested without a GPU.
 *
 * Device memory is the host's, filled with 0xFF when new. Work is queued and runs in the order of
 * the calls of all streams, but only when something waits. So a test sees results that are read too
 * early, and pinned buffers that are filled again too early. A pinned buffer that a copy goes to is
 * filled with 0xFF until then. A launch that may begin before the previous one has ended
 * (programmatic stream serialization) does begin early for some seeds: its first block runs up to
 * grid_wait first.
 *
 * Environment, read by cuInit:
 *   CUDA_STANDIN_DEVICES=N      default 1; 0: cuInit says that there is none
 *   CUDA_STANDIN_MEMORY=BYTES   of device memory, default 2 GiB
 *   CUDA_STANDIN_LOST=K         launch K (from 1) and all calls after it fail
 *   CUDA_STANDIN_SM=90          compute capability * 10
 *   CUDA_STANDIN_PROCESSORS=16  multiprocessors
 *   CUDA_STANDIN_NO_IMAGE=1     cuModuleLoadData finds no code for this device
 *   CUDA_STANDIN_TRACE=FILE     adds a line for each launch: kernel, grid, block, shared bytes
 *   CUDA_STANDIN_COPIES=FD      writes a line for each copy from the host: its bytes
 *   CUDA_STANDIN_WAITS=FD       writes a line for each wait for a stream
 *   CUDA_STANDIN_MEMORY_LOG=FD  writes a line for each piece of memory that is made or freed: its
 *                               kind (device, pinned, mapped) and bytes, negative if freed
 *
 * Compiled with -DSTANDIN_CHECK and CUDA's include folder, prototypes and structs are compared with
 * the real cuda.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifdef STANDIN_CHECK
#include <cuda.h>
#endif

#include "asan.h"
#include "shim.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#pragma GCC visibility push(hidden)

namespace standin {

typedef unsigned long long deviceptr;

enum result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ALREADY_REGISTERED = 712,
    NOT_REGISTERED = 713,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_UNMATCHED = 903,
    CAPTURE_UNJOINED = 904,
    CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
    CAPTURE_WRONG_THREAD = 908
};
static const struct {
    int code;
    const char *name, *text;
} errors[] = {
    {0, "CUDA_SUCCESS", "no error"},
    {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {209, "CUDA_ERROR_NO_BINARY_FOR_GPU",
     "no kernel image is available for execution on the device"},
    {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {600, "CUDA_ERROR_NOT_READY", "device not ready"},
    {712, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED",
     "part or all of the requested memory range is already mapped"},
    {713, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED",
     "pointer does not correspond to a registered memory region"},
    {719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {900, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
     "operation not permitted when stream is capturing"},
    {901, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
     "operation failed due to a previous error during capture"},
    {903, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "the capture was not initiated in this stream"},
    {904, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
    {906, "CUDA_ERROR_STREAM_CAPTURE_IMPLICIT",
     "operation would make the legacy stream depend on a capturing blocking stream"},
    {907, "CUDA_ERROR_CAPTURED_EVENT",
     "operation not permitted on an event last recorded in a capturing stream"},
    {908, "CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD",
     "attempt to terminate a thread-local capture sequence from another thread"},
};

/* ---- structs of the driver's interface ---- */

struct launch_attribute {
    int id;
    char pad[4];
    union {
        char bytes[64];
        int number;
    } value;
};
struct launch_config {
    unsigned int grid[3], block[3], shared;
    void *stream;
    struct launch_attribute *attributes;
    unsigned int n_attributes;
};
struct memcpy_2d {
    size_t src_x, src_y;
    int src_type; // 1 host, 2 device, 4 unified
    const void *src_host;
    deviceptr src_device;
    void *src_array;
    size_t src_pitch;
    size_t dst_x, dst_y;
    int dst_type;
    void *dst_host;
    deviceptr dst_device;
    void *dst_array;
    size_t dst_pitch;
    size_t width, height;
};
struct location {
    int type, id; // type 1: a device
};
struct allocation_prop {
    int type, handle_types; // type 1: pinned
    struct location location;
    void *windows;
    unsigned char flags[8];
};
struct access_desc {
    struct location location;
    int flags; // 3: read and write
};

#ifdef STANDIN_CHECK
static_assert(sizeof(launch_config) == sizeof(CUlaunchConfig) &&
                  sizeof(launch_attribute) == sizeof(CUlaunchAttribute),
              "");
static_assert(offsetof(launch_config, stream) == offsetof(CUlaunchConfig, hStream), "");
static_assert(offsetof(launch_config, attributes) == offsetof(CUlaunchConfig, attrs), "");
static_assert(offsetof(launch_attribute, value) == offsetof(CUlaunchAttribute, value), "");
static_assert(sizeof(memcpy_2d) == sizeof(CUDA_MEMCPY2D), "");
static_assert(offsetof(memcpy_2d, src_device) == offsetof(CUDA_MEMCPY2D, srcDevice), "");
static_assert(offsetof(memcpy_2d, dst_device) == offsetof(CUDA_MEMCPY2D, dstDevice), "");
static_assert(offsetof(memcpy_2d, width) == offsetof(CUDA_MEMCPY2D, WidthInBytes), "");
static_assert(sizeof(allocation_prop) == sizeof(CUmemAllocationProp), "");
static_assert(offsetof(allocation_prop, location) == offsetof(CUmemAllocationProp, location), "");
static_assert(sizeof(access_desc) == sizeof(CUmemAccessDesc), "");
static_assert(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION == 6 &&
                  CU_LAUNCH_ATTRIBUTE_COOPERATIVE == 2,
              "");
static_assert(CU_MEMORYTYPE_HOST == 1 && CU_MEMORYTYPE_DEVICE == 2 && CU_MEMORYTYPE_UNIFIED == 4,
              "");
template <typename F> struct sizes;
template <typename R, typename... A> struct sizes<R (*)(A...)> {
    static constexpr bool are(std::initializer_list<size_t> other) {
        std::initializer_list<size_t> mine = {sizeof(R), sizeof(A)...};
        if (mine.size() != other.size())
            return false;
        for (size_t i = 0; i < mine.size(); i++)
            if (mine.begin()[i] != other.begin()[i])
                return false;
        return true;
    }
    template <typename S, typename... B> static constexpr bool same(S (*)(B...)) {
        return are({sizeof(S), sizeof(B)...});
    }
};
#define CHECK(name)                                                                                \
    static_assert(sizes<decltype(&standin_##name)>::same(decltype (&::name)(nullptr)), #name);
#else
#define CHECK(name) static_assert(true, "");
#endif

/* Defines the driver's function `name`, under a name that cuda.h does not declare. */
#define API_OF_OLD(name, ...)                                                                      \
    extern "C"                                                                                     \
        __attribute__((visibility("default"))) int standin_##name(__VA_ARGS__) __asm__(#name);     \
    extern "C" int standin_##name(__VA_ARGS__)
#define API(name, ...)                                                                             \
    extern "C"                                                                                     \
        __attribute__((visibility("default"))) int standin_##name(__VA_ARGS__) __asm__(#name);     \
    CHECK(name)                                                                                    \
    extern "C" int standin_##name(__VA_ARGS__)

/* ---- what there is ---- */

struct function {
    std::string name;
    void (*kernel)(const void *);
    uint32_t threads, max_dynamic;
};
struct module {
    std::map<std::string, std::unique_ptr<struct function>> functions;
};

enum op_kind { LAUNCH, COPY, FILL, RECORD };
struct op {
    enum op_kind kind;
    const struct stream *stream;
    // LAUNCH
    struct function *function;
    struct uint3 grid, block;
    uint32_t dynamic;
    bool early; // may begin before the launch before it has ended
    std::vector<uint64_t> args;
    // RECORD
    struct event *event;
    // COPY, FILL: rows of `width` bytes
    unsigned char *to;
    const unsigned char *from;
    size_t to_pitch, from_pitch, width, height;
    uint32_t value, value_bytes;
};

struct graph {
    std::vector<struct op> ops;
};
struct capture {
    struct graph *graph;
    struct stream *origin;
    int mode; // 0 global, 1 thread-local, 2 relaxed
    pthread_t thread;
    bool invalid;
};
struct stream {
    unsigned flags;
    struct capture *capture;
    bool unjoined; // of a stream that an event brought into the capture
};
struct event {
    unsigned flags;
    bool recorded, queued;
    struct capture *capture; // where it was last recorded in one
    struct stream *stream;
    struct timespec time;
};

typedef struct function function_type; // for new
typedef struct stream stream_type;
typedef struct capture capture_type;

enum memory_kind { DEVICE_MEMORY, PINNED, REGISTERED, MAPPED };
struct memory {
    enum memory_kind kind;
    size_t size;
    void *base; // what free takes
    bool accessible;
    unsigned long long handle;
};
struct backing { // of cuMemCreate
    int fd;
    size_t size;
    unsigned n_mapped;
    bool released;
};

enum { GUARD = 256, GRANULARITY = 2 << 20, MAX_ARGS = 4096, MAX_CHAIN = 3, MAX_QUEUE = 1000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool initialised, lost, no_image;
static int n_devices, capability, n_processors, lost_at, n_launches;
static size_t total_memory, used_memory;
static FILE *trace, *copies, *waits, *memory_log;
static int probe[2] = {-1, -1};
static int contexts[16]; // a context's handle is the address of its device's element, which counts
                         // who retains it
static thread_local int *current;
/* Never destroyed: a program may end with what it has, and leave it to the driver. */
static std::map<uintptr_t, struct memory> &device = *new std::map<uintptr_t, struct memory>;
static std::map<uintptr_t, struct memory> &host =
    *new std::map<uintptr_t, struct memory>; // by address
static std::map<uintptr_t, size_t> &reservations = *new std::map<uintptr_t, size_t>;
static std::map<unsigned long long, struct backing> &backings =
    *new std::map<unsigned long long, struct backing>;
static unsigned long long next_handle = 1;
static std::set<void *> &streams = *new std::set<void *>;
static std::set<void *> &events = *new std::set<void *>;
static std::set<void *> &graphs = *new std::set<void *>;
static std::set<void *> &execs = *new std::set<void *>;
static std::set<void *> &modules = *new std::set<void *>;
static std::set<void *> &functions = *new std::set<void *>;
static std::set<struct capture *> &captures = *new std::set<struct capture *>;
static struct stream default_stream;
static std::vector<struct op> &queue = *new std::vector<struct op>; // what has not happened yet
static uint32_t chain_bits;

struct lock {
    lock() {
        pthread_mutex_lock(&mutex);
    }
    ~lock() {
        pthread_mutex_unlock(&mutex);
    }
};

static long number_of(const char *name, long otherwise) {
    const char *s = getenv(name);
    return s && *s ? strtol(s, NULL, 10) : otherwise;
}

/* The descriptor that the environment's `name` has, as a file: a sandbox may forbid to open one. */
static FILE *log_of(const char *name) {
    int fd = (int)number_of(name, 0);
    return fd > 0 ? fdopen(fd, "a") : NULL;
}

static void log_memory(const char *kind, long bytes) {
    if (!memory_log)
        return;
    fprintf(memory_log, "%s %ld\n", kind, bytes);
    fflush(memory_log);
}

static int state(bool needs_context) {
    if (!initialised)
        return NOT_INITIALIZED;
    if (needs_context && (!current || !*current))
        return INVALID_CONTEXT;
    return lost ? LAUNCH_FAILED : SUCCESS;
}

/* As the driver: what cannot be captured spoils the captures that watch this thread. */
static int spoil(int code) {
    bool any = false;
    for (struct capture *c : captures)
        if (c->mode == 0 || (c->mode == 1 && pthread_equal(c->thread, pthread_self())))
            any = c->invalid = true;
    return any ? code : (int)SUCCESS;
}

#define BEGIN(needs_context)                                                                       \
    struct lock lock_;                                                                             \
    int state_ = state(needs_context);                                                             \
    if (state_)                                                                                    \
    return state_
#define NOT_WHILE_CAPTURING()                                                                      \
    do {                                                                                           \
        int code_ = spoil(CAPTURE_UNSUPPORTED);                                                    \
        if (code_)                                                                                 \
            return code_;                                                                          \
    } while (0)

static struct stream *stream_of(void *handle) {
    if ((uintptr_t)handle <= 2)
        return &default_stream;
    return streams.count(handle) ? (struct stream *)handle : NULL;
}

/* Whether all of [p, p + n) is device memory that may be touched. */
static bool is_device(deviceptr p, size_t n) {
    uintptr_t at = (uintptr_t)p, end = at + n;
    if (end < at)
        return false;
    while (at < end || n == 0) {
        auto i = device.upper_bound(at);
        if (i == device.begin())
            return false;
        --i;
        const struct memory *m = &i->second;
        if (at >= i->first + (m->size ? m->size : 1) || !m->accessible)
            return false;
        at = i->first + m->size;
        if (n == 0)
            return true;
        if (m->kind != MAPPED && at < end)
            return false;
    }
    return true;
}

/* ---- guards ---- */

__attribute__((noreturn)) static void die(const char *what, const char *where) {
    fprintf(stderr, "standin: %s: %s\n", where, what);
    fflush(NULL);
    abort();
}

static void check_guards(const char *where) {
    if (ASAN)
        return;
    for (const auto &i : device) {
        if (i.second.kind != DEVICE_MEMORY)
            continue;
        const unsigned char *p = (const unsigned char *)i.first;
        for (size_t k = 0; k < GUARD; k++)
            if (p[i.second.size + k] != 0xa5 || p[-1 - (ptrdiff_t)k] != 0xa5) {
                char what[160];
                snprintf(what, sizeof what,
                         "device memory of %zu bytes at %p was written past its %s", i.second.size,
                         (const void *)p, p[i.second.size + k] != 0xa5 ? "end" : "beginning");
                die(what, where);
            }
    }
}

/* ---- operations ---- */

/* Launches of which each may begin before the one before it has ended, and the last one begins
 * first. */
struct chain {
    const struct op *ops;
    size_t n;
};
static void run_chain(void *arg) {
    const struct chain *c = (const struct chain *)arg;
    struct chain before = {c->ops, c->n - 1};
    const struct op *o = &c->ops[c->n - 1];
    struct shim_launch l = {o->function->name.c_str(),
                            o->function->kernel,
                            o->args.data(),
                            o->grid,
                            o->block,
                            o->dynamic,
                            before.n ? run_chain : NULL,
                            &before};
    shim_run(&l);
    check_guards(o->function->name.c_str());
}

static void move_bytes(const struct op *o) {
    for (size_t i = 0; i < o->height; i++) {
        unsigned char *to = o->to + i * o->to_pitch;
        if (o->kind != FILL)
            memmove(to, o->from + i * o->from_pitch, o->width);
        else if (o->value_bytes == 1)
            memset(to, (int)o->value, o->width);
        else
            for (size_t k = 0; k < o->width; k += 4)
                memcpy(to + k, &o->value, 4);
    }
}

static void flush(void) {
    for (size_t i = 0; i < queue.size();) {
        const struct op *o = &queue[i++];
        if (o->kind == RECORD) {
            clock_gettime(CLOCK_MONOTONIC, &o->event->time);
            o->event->queued = false;
        } else if (o->kind != LAUNCH) {
            move_bytes(o);
        } else {
            chain_bits = chain_bits * 1664525 + 1013904223;
            struct chain c = {o, 1};
            size_t limit = 1 + (chain_bits >> 16) % MAX_CHAIN;
            while (c.n < limit && i < queue.size() && queue[i].kind == LAUNCH && queue[i].early &&
                   queue[i].stream == o->stream)
                c.n++, i++;
            run_chain(&c);
        }
    }
    queue.clear();
}

/* Memory that a stream reads and writes while the program goes on: a device's, or pinned. */
static bool is_asynchronous(const void *p) {
    if (is_device((uintptr_t)p, 1))
        return true;
    auto i = host.upper_bound((uintptr_t)p);
    return i != host.begin() && (uintptr_t)p - std::prev(i)->first < std::prev(i)->second.size;
}

static void enqueue(const struct op *o) {
    bool wait = queue.size() >= MAX_QUEUE;
    if (o->kind == COPY && o->width && o->height) {
        wait |= !is_asynchronous(o->to) || !is_asynchronous(o->from);
        if (!wait && !is_device((uintptr_t)o->to, 1)) {
            flush(); // which may read what is there
            for (size_t i = 0; i < o->height; i++)
                memset(o->to + i * o->to_pitch, 0xff, o->width);
        }
    }
    queue.push_back(*o);
    if (wait)
        flush();
}

/* Counts a launch, which may be the one at which the device is lost. */
static int count_launch(const struct op *o) {
    if (lost_at && ++n_launches >= lost_at) {
        flush();
        lost = true;
        return LAUNCH_FAILED;
    }
    if (trace) {
        fprintf(trace, "%s %u,%u,%u %u,%u,%u %u\n", o->function->name.c_str(), o->grid.x, o->grid.y,
                o->grid.z, o->block.x, o->block.y, o->block.z, o->dynamic);
        fflush(trace);
    }
    return SUCCESS;
}

static int submit(struct stream *s, struct op *o) {
    o->stream = s;
    if (s->capture) {
        if (s->capture->invalid)
            return CAPTURE_INVALIDATED;
        s->capture->graph->ops.push_back(*o);
        s->unjoined = s->capture->origin != s;
        return SUCCESS;
    }
    if (s == &default_stream) {
        int code = spoil(CAPTURE_IMPLICIT);
        if (code)
            return code;
    }
    if (o->kind == LAUNCH) {
        int code = count_launch(o);
        if (code)
            return code;
    }
    enqueue(o);
    return SUCCESS;
}

static int submit_and_wait(struct stream *s, struct op *o) {
    int code = submit(s, o);
    if (!code)
        flush();
    return code;
}

static struct op copy_op(void *to, const void *from, size_t n) {
    struct op o = {};
    o.kind = COPY;
    o.to = (unsigned char *)to;
    o.from = (const unsigned char *)from;
    o.width = n;
    o.height = 1;
    return o;
}

/* ---- start, devices, contexts ---- */

API(cuInit, unsigned int flags) {
    struct lock lock;
    if (flags)
        return INVALID_VALUE;
    if (initialised)
        return SUCCESS;
    n_devices = (int)number_of("CUDA_STANDIN_DEVICES", 1);
    if (n_devices < 1)
        return NO_DEVICE;
    if (n_devices > 16)
        n_devices = 16;
    total_memory = (size_t)number_of("CUDA_STANDIN_MEMORY", 2L << 30);
    lost_at = (int)number_of("CUDA_STANDIN_LOST", 0);
    capability = (int)number_of("CUDA_STANDIN_SM", 90);
    n_processors = (int)number_of("CUDA_STANDIN_PROCESSORS", 16);
    no_image = number_of("CUDA_STANDIN_NO_IMAGE", 0) != 0;
    chain_bits = (uint32_t)number_of("CUDA_SHIM_SEED", 1);
    const char *file = getenv("CUDA_STANDIN_TRACE");
    if (file && *file)
        trace = fopen(file, "ae");
    copies = log_of("CUDA_STANDIN_COPIES");
    waits = log_of("CUDA_STANDIN_WAITS");
    memory_log = log_of("CUDA_STANDIN_MEMORY_LOG");
    initialised = true;
    return SUCCESS;
}

API(cuDriverGetVersion, int *version) {
    if (!version)
        return INVALID_VALUE;
    *version = 13000;
    return SUCCESS;
}

API(cuDeviceGetCount, int *n) {
    struct lock lock;
    if (!initialised)
        return NOT_INITIALIZED;
    if (!n)
        return INVALID_VALUE;
    *n = n_devices;
    return SUCCESS;
}

API(cuDeviceGet, int *dev, int ordinal) {
    struct lock lock;
    if (!initialised)
        return NOT_INITIALIZED;
    if (!dev)
        return INVALID_VALUE;
    if (ordinal < 0 || ordinal >= n_devices)
        return INVALID_DEVICE;
    *dev = ordinal;
    return SUCCESS;
}

API(cuDeviceGetName, char *name, int size, int dev) {
    struct lock lock;
    if (!initialised)
        return NOT_INITIALIZED;
    if (!name || size < 1)
        return INVALID_VALUE;
    if (dev < 0 || dev >= n_devices)
        return INVALID_DEVICE;
    snprintf(name, (size_t)size, "Stand-in sm_%d", capability);
    return SUCCESS;
}

static int shared_opt_in(void) {
    int kib = capability >= 90 && capability < 120   ? 227
              : capability == 80 || capability == 87 ? 163
                                                     : 99;
    return kib * 1024;
}

API(cuDeviceGetAttribute, int *value, int attribute, int dev) {
    struct lock lock;
    if (!initialised)
        return NOT_INITIALIZED;
    if (!value)
        return INVALID_VALUE;
    if (dev < 0 || dev >= n_devices)
        return INVALID_DEVICE;
    // clang-format off
    const struct {
        int attribute, value;
    } known[] = {
        {1, 1024},                             // threads per block
        {2, 1024},       {3, 1024},  {4, 64},  // block
        {5, 2147483647}, {6, 65535}, {7, 65535}, // grid
        {8, 48 * 1024},                        // shared memory per block
        {9, 65536},                            // constant memory
        {10, 32},                              // warp
        {11, 2147483647},                      // pitch
        {12, 65536},                           // registers per block
        {13, 1755000},                         // clock, kHz
        {15, 1},                               // overlap
        {16, n_processors},
        {17, 0},      // time limit
        {18, 0},      // integrated
        {19, 1},      // maps host memory
        {20, 0},      // compute mode
        {31, 1},      // concurrent kernels
        {32, 1},      // ECC
        {33, 1 + dev}, {34, 0}, {50, 0}, // PCI
        {36, 2619000}, {37, 5120},       // memory clock, kHz, and bus width
        {38, 50 << 20},                  // L2
        {39, 2048},                      // threads per multiprocessor
        {40, 3},                         // copy engines
        {41, 1},                         // unified addressing
        {75, capability / 10}, {76, capability % 10},
        {78, 1}, {79, 1}, {80, 1},
        {81, shared_opt_in() + 1024},    // shared memory per multiprocessor
        {82, 65536},                     // registers per multiprocessor
        {83, 1}, {88, 0}, {89, 1}, {90, 1}, {91, 1},
        {95, 1},                         // cooperative launch
        {97, shared_opt_in()},
        {99, 1},                         // host register
        {100, 0},
        {102, 1},                        // virtual memory
        {103, 1},
        {106, 32},                       // blocks per multiprocessor
        {111, 1024},                     // reserved shared memory per block
        {113, 1},
        {115, 1},                        // memory pools
        {120, capability >= 90},         // clusters
        {127, capability >= 90},         // tensor maps
    };
    // clang-format on
    for (const auto &k : known)
        if (k.attribute == attribute) {
            *value = k.value;
            return SUCCESS;
        }
    *value = 0;
    return attribute < 1 || attribute > 160 ? INVALID_VALUE : SUCCESS;
}

API(cuDeviceTotalMem_v2, size_t *bytes, int dev) {
    struct lock lock;
    if (!initialised)
        return NOT_INITIALIZED;
    if (!bytes)
        return INVALID_VALUE;
    if (dev < 0 || dev >= n_devices)
        return INVALID_DEVICE;
    *bytes = total_memory;
    return SUCCESS;
}

API(cuDevicePrimaryCtxRetain, void **context, int dev) {
    BEGIN(false);
    if (!context)
        return INVALID_VALUE;
    if (dev < 0 || dev >= n_devices)
        return INVALID_DEVICE;
    contexts[dev]++;
    *context = &contexts[dev];
    return SUCCESS;
}

API(cuDevicePrimaryCtxRelease_v2, int dev) {
    BEGIN(false);
    if (dev < 0 || dev >= n_devices)
        return INVALID_DEVICE;
    if (!contexts[dev])
        return INVALID_CONTEXT;
    NOT_WHILE_CAPTURING();
    flush();
    contexts[dev]--;
    return SUCCESS;
}

API(cuDevicePrimaryCtxSetFlags_v2, int device, unsigned flags) {
    BEGIN(false);
    (void)flags;
    return device < 0 || device >= n_devices ? INVALID_DEVICE : SUCCESS;
}
API(cuCtxSetCurrent, void *context) {
    BEGIN(false);
    if (context &&
        ((int *)context < contexts || (int *)context >= contexts + n_devices || !*(int *)context))
        return INVALID_CONTEXT;
    current = (int *)context;
    return SUCCESS;
}

API(cuCtxGetCurrent, void **context) {
    BEGIN(false);
    if (!context)
        return INVALID_VALUE;
    *context = current;
    return SUCCESS;
}

API(cuCtxSynchronize, void) {
    BEGIN(true);
    NOT_WHILE_CAPTURING();
    flush();
    return SUCCESS;
}

API(cuGetErrorName, int code, const char **text) {
    if (!text)
        return INVALID_VALUE;
    *text = NULL;
    for (const auto &e : errors)
        if (e.code == code)
            *text = e.name;
    return *text ? SUCCESS : INVALID_VALUE;
}

API(cuGetErrorString, int code, const char **text) {
    if (!text)
        return INVALID_VALUE;
    *text = NULL;
    for (const auto &e : errors)
        if (e.code == code)
            *text = e.text;
    return *text ? SUCCESS : INVALID_VALUE;
}

static void *own_symbol(const char *name) {
    static void *self;
    Dl_info info;
    if (!self && dladdr((void *)own_symbol, &info))
        self = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    return dlsym(self ? self : RTLD_DEFAULT, name); // a program's own, where this is part of one
}

API(cuGetProcAddress_v2, const char *symbol, void **pointer, int version, unsigned long long flags,
    int *status) {
    (void)version, (void)flags;
    if (!symbol || !pointer)
        return INVALID_VALUE;
    *pointer = NULL;
    if (!strncmp(symbol, "cu", 2)) {
        std::string name = symbol;
        *pointer = own_symbol((name + "_v2").c_str());
        if (!*pointer)
            *pointer = own_symbol(symbol);
    }
    if (status)
        *status = *pointer ? 0 : 1;
    return *pointer ? SUCCESS : NOT_FOUND;
}

/* ---- modules and functions ---- */

API(cuModuleLoadData, void **mod, const void *image) {
    BEGIN(true);
    if (!mod || !image)
        return INVALID_VALUE;
    NOT_WHILE_CAPTURING();
    if (no_image)
        return NO_BINARY_FOR_GPU;
    struct module *m = new struct module;
    modules.insert(m);
    *mod = m;
    return SUCCESS;
}

API(cuModuleUnload, void *mod) {
    BEGIN(true);
    if (!modules.count(mod))
        return INVALID_HANDLE;
    NOT_WHILE_CAPTURING();
    flush();
    struct module *m = (struct module *)mod;
    for (const auto &f : m->functions)
        functions.erase(f.second.get());
    modules.erase(mod);
    delete m;
    return SUCCESS;
}

API(cuModuleGetFunction, void **out, void *mod, const char *name) {
    BEGIN(true);
    if (!out || !name)
        return INVALID_VALUE;
    if (!modules.count(mod))
        return INVALID_HANDLE;
    std::unique_ptr<struct function> *f = &((struct module *)mod)->functions[name];
    if (!*f) {
        void *symbol = own_symbol(name);
        const struct shim_kernel *kernel = symbol ? shim_find_kernel(symbol) : NULL;
        if (!kernel)
            return NOT_FOUND;
        f->reset(
            new function_type{name, (void (*)(const void *))symbol, kernel->threads, 48 * 1024});
        functions.insert(f->get());
    }
    *out = f->get();
    return SUCCESS;
}

API(cuFuncSetAttribute, void *handle, int attribute, int value) {
    BEGIN(true);
    if (!functions.count(handle))
        return INVALID_HANDLE;
    if (attribute == 9) // how L1 is shared out: a hint
        return value >= -1 && value <= 100 ? SUCCESS : INVALID_VALUE;
    if (attribute != 8 || value < 0 || value > shared_opt_in())
        return INVALID_VALUE;
    ((struct function *)handle)->max_dynamic = (uint32_t)value;
    return SUCCESS;
}

API(cuFuncGetAttribute, int *value, int attribute, void *handle) {
    BEGIN(true);
    if (!functions.count(handle))
        return INVALID_HANDLE;
    if (!value)
        return INVALID_VALUE;
    const struct function *f = (const struct function *)handle;
    const int values[10] = {
        (int)f->threads,     0, 0, 0, f->threads > 256 ? 64 : 128, capability, capability, 0,
        (int)f->max_dynamic, -1};
    if (attribute < 0 || attribute > 9)
        return INVALID_VALUE;
    *value = values[attribute];
    return SUCCESS;
}

/* ---- launches ---- */

__attribute__((no_sanitize_address)) static void
copy_words(volatile uint64_t *to, const volatile unsigned char *from, size_t n) {
    volatile unsigned char *bytes = (volatile unsigned char *)to;
    for (size_t i = 0; i < n; i++)
        bytes[i] = from[i];
}

/* Copies a kernel's struct, of a size that nobody tells: up to the end of its page, and of the next
 * where there is one. */
static std::vector<uint64_t> copy_args(const void *args) {
    std::vector<uint64_t> copy(MAX_ARGS / 8, ~(uint64_t)0);
    size_t first = 4096 - ((uintptr_t)args & 4095);
    copy_words(copy.data(), (const volatile unsigned char *)args, first);
    if (first < MAX_ARGS) {
        if (probe[0] < 0 && pipe(probe))
            return copy;
        long n = syscall(SYS_write, probe[1], (const char *)args + first, MAX_ARGS - first);
        if (n > 0 && read(probe[0], (char *)copy.data() + first, (size_t)n) != n)
            die("a pipe lost bytes", "cuLaunchKernel");
    }
    return copy;
}

static int launch(const struct launch_config *c, void *handle, void **params, void **extra) {
    if (!functions.count(handle))
        return INVALID_HANDLE;
    struct stream *s = stream_of(c->stream);
    if (!s)
        return INVALID_HANDLE;
    struct function *f = (struct function *)handle;
    uint64_t threads = (uint64_t)c->block[0] * c->block[1] * c->block[2];
    for (int i = 0; i < 3; i++)
        if (c->grid[i] < 1 || c->grid[i] > (i ? 65535u : 2147483647u) || c->block[i] < 1 ||
            c->block[i] > (i == 2 ? 64u : 1024u))
            return INVALID_VALUE;
    if (threads > f->threads || threads > 1024 || c->shared > f->max_dynamic)
        return INVALID_VALUE;
    struct op o = {};
    o.kind = LAUNCH;
    o.function = f;
    o.grid = {c->grid[0], c->grid[1], c->grid[2]};
    o.block = {c->block[0], c->block[1], c->block[2]};
    o.dynamic = c->shared;
    for (unsigned i = 0; i < c->n_attributes; i++) {
        const struct launch_attribute *a = &c->attributes[i];
        if (a->id == 6) {
            if (capability < 90 && a->value.number)
                return NOT_SUPPORTED;
            o.early = a->value.number != 0;
        } else if (a->id == 2 || a->id == 4) { // cooperative, clusters: the shim has neither
            return NOT_SUPPORTED;
        }
    }
    if (params && extra)
        return INVALID_VALUE;
    if (params && params[0]) {
        o.args = copy_args(params[0]);
    } else if (extra) { // 1: the bytes; 2: the address of their size; 0: the end
        const void *bytes = NULL;
        size_t size = 0;
        for (size_t i = 0; extra[i]; i += 2)
            if ((uintptr_t)extra[i] == 1)
                bytes = extra[i + 1];
            else if ((uintptr_t)extra[i] == 2)
                size = *(const size_t *)extra[i + 1];
            else
                return INVALID_VALUE;
        if (!bytes || size > MAX_ARGS)
            return INVALID_VALUE;
        o.args.resize(size / 8 + 1);
        memcpy(o.args.data(), bytes, size);
    } else {
        return INVALID_VALUE; // every kernel here has a struct
    }
    return submit(s, &o);
}

API(cuLaunchKernelEx, const struct launch_config *config, void *function, void **params,
    void **extra) {
    BEGIN(true);
    if (!config || (config->n_attributes && !config->attributes))
        return INVALID_VALUE;
    return launch(config, function, params, extra);
}

API(cuLaunchKernel, void *function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
    unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
    void *stream, void **params, void **extra) {
    BEGIN(true);
    struct launch_config c = {
        {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared, stream, NULL, 0};
    return launch(&c, function, params, extra);
}

/* ---- memory ---- */

API(cuMemAlloc_v2, deviceptr *out, size_t size) {
    BEGIN(true);
    if (!out || !size)
        return INVALID_VALUE;
    NOT_WHILE_CAPTURING();
    if (size > total_memory - used_memory)
        return OUT_OF_MEMORY;
    size_t around = ASAN ? 0 : GUARD;
    void *base = NULL;
    if (posix_memalign(&base, 256, size + 2 * around))
        return OUT_OF_MEMORY;
    unsigned char *p = (unsigned char *)base + around;
    memset(base, 0xa5, around);
    memset(p, 0xff, size);
    memset(p + size, 0xa5, around);
    used_memory += size;
    device[(uintptr_t)p] = {DEVICE_MEMORY, size, base, true, 0};
    log_memory("device", (long)size);
    *out = (deviceptr)(uintptr_t)p;
    return SUCCESS;
}

API(cuMemFree_v2, deviceptr p) {
    BEGIN(true);
    NOT_WHILE_CAPTURING();
    if (!p)
        return SUCCESS;
    flush();
    auto i = device.find((uintptr_t)p);
    if (i == device.end() || i->second.kind != DEVICE_MEMORY)
        return INVALID_VALUE;
    check_guards("cuMemFree");
    used_memory -= i->second.size;
    log_memory("device", -(long)i->second.size);
    free(i->second.base);
    device.erase(i);
    return SUCCESS;
}

API(cuMemHostAlloc, void **out, size_t size, unsigned int flags) {
    BEGIN(true);
    if (!out || flags > 7)
        return INVALID_VALUE;
    NOT_WHILE_CAPTURING();
    void *p = NULL;
    if (posix_memalign(&p, 4096, size ? size : 1))
        return OUT_OF_MEMORY;
    memset(p, 0xff, size);
    host[(uintptr_t)p] = {PINNED, size, p, true, 0};
    log_memory("pinned", (long)size);
    *out = p;
    return SUCCESS;
}

API(cuMemFreeHost, void *p) {
    BEGIN(true);
    NOT_WHILE_CAPTURING();
    if (!p)
        return SUCCESS;
    flush();
    auto i = host.find((uintptr_t)p);
    if (i == host.end() || i->second.kind != PINNED)
        return INVALID_VALUE;
    log_memory("pinned", -(long)i->second.size);
    free(p);
    host.erase(i);
    return SUCCESS;
}

API(cuMemHostRegister_v2, void *p, size_t size, unsigned int flags) {
    BEGIN(true);
    if (!p || !size || flags > 15)
        return INVALID_VALUE;
    NOT_WHILE_CAPTURING();
    uintptr_t at = (uintptr_t)p;
    auto i = host.lower_bound(at);
    if (i != host.end() && i->first < at + size)
        return ALREADY_REGISTERED;
    if (i != host.begin() && (--i)->first + i->second.size > at)
        return ALREADY_REGISTERED;
    host[at] = {REGISTERED, size, NULL, true, 0};
    return SUCCESS;
}

API(cuMemHostUnregister, void *p) {
    BEGIN(true);
    NOT_WHILE_CAPTURING();
    flush();
    auto i = host.find((uintptr_t)p);
    if (i == host.end() || i->second.kind != REGISTERED)
        return NOT_REGISTERED;
    host.erase(i);
    return SUCCESS;
}

API(cuMemGetInfo_v2, size_t *free_bytes, size_t *total) {
    BEGIN(true);
    if (!free_bytes || !total)
        return INVALID_VALUE;
    *free_bytes = total_memory - used_memory;
    *total = total_memory;
    return SUCCESS;
}

/* Synchronous copies use the default stream, whatever another stream captures. */
API(cuMemcpyHtoD_v2, deviceptr to, const void *from, size_t n) {
    BEGIN(true);
    if ((n && !from) || !is_device(to, n))
        return INVALID_VALUE;
    struct op o = copy_op((void *)(uintptr_t)to, from, n);
    return submit_and_wait(&default_stream, &o);
}

API(cuMemcpyDtoH_v2, void *to, deviceptr from, size_t n) {
    BEGIN(true);
    if ((n && !to) || !is_device(from, n))
        return INVALID_VALUE;
    struct op o = copy_op(to, (const void *)(uintptr_t)from, n);
    return submit_and_wait(&default_stream, &o);
}

API(cuMemcpyHtoDAsync_v2, deviceptr to, const void *from, size_t n, void *stream) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    if ((n && !from) || !is_device(to, n))
        return INVALID_VALUE;
    if (copies) {
        fprintf(copies, "%zu\n", n);
        fflush(copies);
    }
    struct op o = copy_op((void *)(uintptr_t)to, from, n);
    return submit(s, &o);
}

API(cuMemcpyDtoHAsync_v2, void *to, deviceptr from, size_t n, void *stream) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    if ((n && !to) || !is_device(from, n))
        return INVALID_VALUE;
    struct op o = copy_op(to, (const void *)(uintptr_t)from, n);
    return submit(s, &o);
}

API(cuMemcpyDtoDAsync_v2, deviceptr to, deviceptr from, size_t n, void *stream) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    if (!is_device(to, n) || !is_device(from, n))
        return INVALID_VALUE;
    struct op o = copy_op((void *)(uintptr_t)to, (const void *)(uintptr_t)from, n);
    return submit(s, &o);
}

API(cuMemcpy2DAsync_v2, const struct memcpy_2d *c, void *stream) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    if (!c || (c->src_pitch && c->src_pitch < c->width) ||
        (c->dst_pitch && c->dst_pitch < c->width))
        return INVALID_VALUE;
    struct op o = {};
    o.kind = COPY;
    o.width = c->width;
    o.height = c->height;
    o.from_pitch = c->src_pitch ? c->src_pitch : c->width;
    o.to_pitch = c->dst_pitch ? c->dst_pitch : c->width;
    if (c->src_type == 1)
        o.from = (const unsigned char *)c->src_host;
    else if (c->src_type == 2 || c->src_type == 4)
        o.from = (const unsigned char *)(uintptr_t)c->src_device;
    if (c->dst_type == 1)
        o.to = (unsigned char *)c->dst_host;
    else if (c->dst_type == 2 || c->dst_type == 4)
        o.to = (unsigned char *)(uintptr_t)c->dst_device;
    if (!o.from || !o.to)
        return INVALID_VALUE;
    o.from += c->src_y * o.from_pitch + c->src_x;
    o.to += c->dst_y * o.to_pitch + c->dst_x;
    for (size_t i = 0; c->width && i < c->height; i++)
        if ((c->src_type == 2 && !is_device((uintptr_t)(o.from + i * o.from_pitch), c->width)) ||
            (c->dst_type == 2 && !is_device((uintptr_t)(o.to + i * o.to_pitch), c->width)))
            return INVALID_VALUE;
    return submit(s, &o);
}

static int fill(deviceptr to, uint32_t value, uint32_t bytes, size_t n, void *stream) {
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    if (n > SIZE_MAX / 4 || to % bytes || !is_device(to, n * bytes))
        return INVALID_VALUE;
    struct op o = {};
    o.kind = FILL;
    o.to = (unsigned char *)(uintptr_t)to;
    o.width = n * bytes;
    o.height = 1;
    o.value = value;
    o.value_bytes = bytes;
    return submit(s, &o);
}

API(cuMemsetD8Async, deviceptr to, unsigned char value, size_t n, void *stream) {
    BEGIN(true);
    return fill(to, value, 1, n, stream);
}

API(cuMemsetD32Async, deviceptr to, unsigned int value, size_t n, void *stream) {
    BEGIN(true);
    return fill(to, value, 4, n, stream);
}

/* ---- virtual memory: a reservation is inaccessible, and parts of it are mapped from a backing's
 * file ----
 */

API(cuMemGetAllocationGranularity, size_t *out, const struct allocation_prop *prop, int which) {
    BEGIN(false);
    if (!out || !prop || prop->type != 1 || prop->location.type != 1 || which < 0 || which > 1)
        return INVALID_VALUE;
    if (prop->location.id < 0 || prop->location.id >= n_devices)
        return INVALID_DEVICE;
    *out = GRANULARITY;
    return SUCCESS;
}

API(cuMemAddressReserve, deviceptr *out, size_t size, size_t alignment, deviceptr at,
    unsigned long long flags) {
    BEGIN(false);
    (void)at; // a wish
    if (!out || !size || size % GRANULARITY || (alignment & (alignment - 1)) || flags)
        return INVALID_VALUE;
    size_t align = alignment > GRANULARITY ? alignment : (size_t)GRANULARITY;
    char *all = (char *)mmap(NULL, size + align, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == (char *)MAP_FAILED)
        return OUT_OF_MEMORY;
    char *p = (char *)(((uintptr_t)all + align - 1) & ~(uintptr_t)(align - 1));
    if (p > all)
        munmap(all, (size_t)(p - all));
    if (all + align > p)
        munmap(p + size, (size_t)(all + align - p));
    reservations[(uintptr_t)p] = size;
    *out = (deviceptr)(uintptr_t)p;
    return SUCCESS;
}

/* The mapped parts that lie in [at, at + size) are [first, last); false where a part lies across a
 * border.
 */
typedef std::map<uintptr_t, struct memory>::iterator part;
static bool parts_of(uintptr_t at, size_t size, part *first, part *last) {
    *first = device.lower_bound(at);
    *last = device.lower_bound(at + size);
    if (*first != device.begin()) {
        part before = std::prev(*first);
        if (before->second.kind == MAPPED && before->first + before->second.size > at)
            return false;
    }
    return *first == *last || std::prev(*last)->first + std::prev(*last)->second.size <= at + size;
}

static bool is_reserved(uintptr_t at, size_t size) {
    auto i = reservations.upper_bound(at);
    if (i == reservations.begin())
        return false;
    --i;
    size_t offset = at - i->first;
    return offset < i->second && size <= i->second - offset;
}

API(cuMemAddressFree, deviceptr p, size_t size) {
    BEGIN(false);
    auto i = reservations.find((uintptr_t)p);
    part first, last;
    if (i == reservations.end() || i->second != size)
        return INVALID_VALUE;
    flush();
    if (!parts_of((uintptr_t)p, size, &first, &last) || first != last) // still mapped
        return INVALID_VALUE;
    munmap((void *)(uintptr_t)p, size);
    reservations.erase(i);
    return SUCCESS;
}

API(cuMemCreate, unsigned long long *out, size_t size, const struct allocation_prop *prop,
    unsigned long long flags) {
    BEGIN(false);
    if (!out || !size || size % GRANULARITY || !prop || prop->type != 1 ||
        prop->location.type != 1 || flags)
        return INVALID_VALUE;
    if (prop->location.id < 0 || prop->location.id >= n_devices)
        return INVALID_DEVICE;
    NOT_WHILE_CAPTURING();
    if (size > total_memory - used_memory)
        return OUT_OF_MEMORY;
    int fd = memfd_create("standin", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size)) {
        if (fd >= 0)
            close(fd);
        return OUT_OF_MEMORY;
    }
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        close(fd);
        return OUT_OF_MEMORY;
    }
    memset(p, 0xff, size);
    munmap(p, size);
    used_memory += size;
    *out = next_handle++;
    backings[*out] = {fd, size, 0, false};
    log_memory("mapped", (long)size);
    return SUCCESS;
}

static void drop_if_unused(std::map<unsigned long long, struct backing>::iterator i) {
    if (!i->second.released || i->second.n_mapped)
        return;
    used_memory -= i->second.size;
    log_memory("mapped", -(long)i->second.size);
    close(i->second.fd);
    backings.erase(i);
}

API(cuMemRelease, unsigned long long handle) {
    BEGIN(false);
    auto i = backings.find(handle);
    if (i == backings.end() || i->second.released)
        return INVALID_VALUE;
    NOT_WHILE_CAPTURING();
    flush();
    i->second.released = true; // its memory lives as long as it is mapped
    drop_if_unused(i);
    return SUCCESS;
}

API(cuMemMap, deviceptr p, size_t size, size_t offset, unsigned long long handle,
    unsigned long long flags) {
    BEGIN(false);
    auto i = backings.find(handle);
    part first, last;
    if (i == backings.end() || i->second.released || flags || offset || !size ||
        size != i->second.size || p % GRANULARITY)
        return INVALID_VALUE; // as the driver: a whole allocation, from its beginning
    if (!is_reserved((uintptr_t)p, size) || !parts_of((uintptr_t)p, size, &first, &last) ||
        first != last)
        return INVALID_VALUE;
    NOT_WHILE_CAPTURING();
    if (mmap((void *)(uintptr_t)p, size, PROT_NONE, MAP_SHARED | MAP_FIXED, i->second.fd, 0) ==
        MAP_FAILED)
        return OUT_OF_MEMORY;
    i->second.n_mapped++;
    device[(uintptr_t)p] = {MAPPED, size, NULL, false, handle};
    return SUCCESS;
}

API(cuMemUnmap, deviceptr p, size_t size) {
    BEGIN(false);
    part first, last;
    if (!is_reserved((uintptr_t)p, size) || !parts_of((uintptr_t)p, size, &first, &last) ||
        first == last)
        return INVALID_VALUE;
    NOT_WHILE_CAPTURING();
    flush();
    while (first != last) {
        mmap((void *)first->first, first->second.size, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
        auto i = backings.find(first->second.handle);
        i->second.n_mapped--;
        drop_if_unused(i);
        first = device.erase(first);
    }
    return SUCCESS;
}

API(cuMemSetAccess, deviceptr p, size_t size, const struct access_desc *desc, size_t n) {
    BEGIN(false);
    part first, last;
    if (!desc || n < 1 || !parts_of((uintptr_t)p, size, &first, &last) || first == last)
        return INVALID_VALUE;
    uintptr_t at = (uintptr_t)p;
    for (part i = first; i != last; ++i) { // all of it is mapped
        if (i->first != at || i->second.kind != MAPPED)
            return INVALID_VALUE;
        at += i->second.size;
    }
    if (at != (uintptr_t)p + size)
        return INVALID_VALUE;
    flush();
    for (size_t i = 0; i < n; i++) {
        if (desc[i].location.type != 1 ||
            (desc[i].flags != 0 && desc[i].flags != 1 && desc[i].flags != 3))
            return INVALID_VALUE;
        int protection = desc[i].flags == 3   ? PROT_READ | PROT_WRITE
                         : desc[i].flags == 1 ? PROT_READ
                                              : PROT_NONE;
        if (mprotect((void *)(uintptr_t)p, size, protection))
            return INVALID_VALUE;
        for (part k = first; k != last; ++k)
            k->second.accessible = desc[i].flags != 0;
    }
    return SUCCESS;
}

/* ---- streams and events ---- */

API(cuStreamCreate, void **out, unsigned int flags) {
    BEGIN(true);
    if (!out || flags > 1)
        return INVALID_VALUE;
    struct stream *s = new stream_type{flags, NULL, false};
    streams.insert(s);
    *out = s;
    return SUCCESS;
}

static void end_capture(struct capture *c) {
    for (void *s : streams)
        if (((struct stream *)s)->capture == c) {
            ((struct stream *)s)->capture = NULL;
            ((struct stream *)s)->unjoined = false;
        }
    for (void *e : events)
        if (((struct event *)e)->capture == c)
            ((struct event *)e)->capture = NULL;
    captures.erase(c);
    delete c;
}

API(cuStreamDestroy_v2, void *stream) {
    BEGIN(true);
    if (!streams.count(stream))
        return INVALID_HANDLE;
    flush();
    struct stream *s = (struct stream *)stream;
    if (s->capture && s->capture->origin == s) {
        delete s->capture->graph;
        end_capture(s->capture);
    }
    streams.erase(s);
    delete s;
    return SUCCESS;
}

/* What asks about, or waits for, a stream that is captured. */
static int not_captured(struct stream *s) {
    if (s == &default_stream)
        return spoil(CAPTURE_IMPLICIT);
    if (!s->capture)
        return SUCCESS;
    s->capture->invalid = true;
    return CAPTURE_UNSUPPORTED;
}

API(cuStreamSynchronize, void *stream) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    int code = not_captured(s);
    if (code)
        return code;
    if (waits) {
        fprintf(waits, "wait\n");
        fflush(waits);
    }
    flush();
    return SUCCESS;
}

API(cuStreamQuery, void *stream) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    int code = not_captured(s);
    if (code || queue.empty())
        return code;
    flush();
    return NOT_READY; // and done when asked again
}

API(cuStreamWaitEvent, void *stream, void *event, unsigned int flags) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s || !events.count(event))
        return INVALID_HANDLE;
    if (flags > 1)
        return INVALID_VALUE;
    struct event *e = (struct event *)event;
    if (e->capture) {
        if (s->capture && s->capture != e->capture)
            return s->capture->invalid = e->capture->invalid = true, 902;
        if (s == &default_stream)
            return e->capture->invalid = true, CAPTURE_IMPLICIT;
        s->capture = e->capture; // it joins
        if (e->stream != s)
            e->stream->unjoined = false;
        return SUCCESS;
    }
    if (s->capture && e->recorded) { // work outside of the capture
        s->capture->invalid = true;
        return 905;
    }
    return SUCCESS; // what was recorded has happened, or will before anything later
}

API(cuEventCreate, void **out, unsigned int flags) {
    BEGIN(true);
    if (!out || flags > 7)
        return INVALID_VALUE;
    struct event *e = new struct event();
    e->flags = flags;
    events.insert(e);
    *out = e;
    return SUCCESS;
}

API(cuEventDestroy_v2, void *event) {
    BEGIN(true);
    if (!events.count(event))
        return INVALID_HANDLE;
    if (((struct event *)event)->queued)
        flush();
    events.erase(event);
    delete (struct event *)event;
    return SUCCESS;
}

API(cuEventRecord, void *event, void *stream) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s || !events.count(event))
        return INVALID_HANDLE;
    struct event *e = (struct event *)event;
    e->capture = s->capture;
    e->stream = s;
    e->recorded = !s->capture;
    if (s->capture)
        return SUCCESS;
    struct op o = {};
    o.kind = RECORD;
    o.event = e;
    e->queued = true;
    return submit(s, &o);
}

/* Lets what is queued happen. */
static int event_is_done(void *event, int if_queued) {
    if (!events.count(event))
        return INVALID_HANDLE;
    struct event *e = (struct event *)event;
    if (e->capture) {
        e->capture->invalid = true;
        return CAPTURED_EVENT;
    }
    if (!e->queued)
        return SUCCESS;
    flush();
    return if_queued;
}

API(cuEventSynchronize, void *event) {
    BEGIN(true);
    return event_is_done(event, SUCCESS);
}

API(cuEventQuery, void *event) {
    BEGIN(true);
    return event_is_done(event, NOT_READY);
}

static int elapsed(float *milliseconds, void *start, void *end) {
    if (!events.count(start) || !events.count(end))
        return INVALID_HANDLE;
    const struct event *a = (const struct event *)start, *b = (const struct event *)end;
    if (!milliseconds)
        return INVALID_VALUE;
    if ((a->flags & 2) || (b->flags & 2) || !a->recorded || !b->recorded)
        return INVALID_HANDLE;
    if (a->queued || b->queued)
        return NOT_READY;
    *milliseconds = (float)((double)(b->time.tv_sec - a->time.tv_sec) * 1e3 +
                            (double)(b->time.tv_nsec - a->time.tv_nsec) * 1e-6);
    return SUCCESS;
}

API(cuEventElapsedTime_v2, float *milliseconds, void *start, void *end) {
    BEGIN(true);
    return elapsed(milliseconds, start, end);
}

#undef cuEventElapsedTime // of cuda.h
API_OF_OLD(cuEventElapsedTime, float *milliseconds, void *start, void *end) {
    BEGIN(true);
    return elapsed(milliseconds, start, end);
}

/* ---- graphs ---- */

API(cuStreamBeginCapture_v2, void *stream, int mode) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    if (mode < 0 || mode > 2)
        return INVALID_VALUE;
    if (s == &default_stream)
        return CAPTURE_UNSUPPORTED;
    if (s->capture)
        return s->capture->invalid = true, INVALID_VALUE;
    s->capture = new capture_type{new standin::graph(), s, mode, pthread_self(), false};
    captures.insert(s->capture);
    return SUCCESS;
}

API(cuStreamIsCapturing, void *stream, int *status) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    if (!status)
        return INVALID_VALUE;
    *status = !s->capture ? 0 : s->capture->invalid ? 2 : 1;
    return SUCCESS;
}

API(cuStreamEndCapture, void *stream, void **out) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s)
        return INVALID_HANDLE;
    if (!out)
        return INVALID_VALUE;
    *out = NULL;
    struct capture *c = s->capture;
    if (!c)
        return INVALID_VALUE;
    if (c->origin != s)
        return c->invalid = true, CAPTURE_UNMATCHED;
    if (c->mode != 2 && !pthread_equal(c->thread, pthread_self()))
        return CAPTURE_WRONG_THREAD;
    int code = c->invalid ? CAPTURE_INVALIDATED : SUCCESS;
    for (void *other : streams)
        if (!code && ((struct stream *)other)->capture == c && ((struct stream *)other)->unjoined)
            code = CAPTURE_UNJOINED;
    if (code) {
        delete c->graph;
    } else {
        graphs.insert(c->graph);
        *out = c->graph;
    }
    end_capture(c);
    return code;
}

API(cuGraphInstantiateWithFlags, void **out, void *graph, unsigned long long flags) {
    BEGIN(true);
    if (!graphs.count(graph))
        return INVALID_HANDLE;
    if (!out || flags > 15)
        return INVALID_VALUE;
    struct graph *g = new struct graph(*(const struct graph *)graph);
    execs.insert(g);
    *out = g;
    return SUCCESS;
}

API(cuGraphLaunch, void *exec, void *stream) {
    BEGIN(true);
    struct stream *s = stream_of(stream);
    if (!s || !execs.count(exec))
        return INVALID_HANDLE;
    for (struct op o : ((const struct graph *)exec)->ops) {
        if (o.kind == LAUNCH && !functions.count(o.function))
            die("a graph launches a function of a module that is unloaded", "cuGraphLaunch");
        int code = submit(s, &o);
        if (code)
            return code;
    }
    return SUCCESS;
}

API(cuGraphDestroy, void *graph) {
    BEGIN(true);
    if (!graphs.count(graph))
        return INVALID_HANDLE;
    graphs.erase(graph);
    delete (struct graph *)graph;
    return SUCCESS;
}

API(cuGraphExecDestroy, void *exec) {
    BEGIN(true);
    if (!execs.count(exec))
        return INVALID_HANDLE;
    execs.erase(exec);
    delete (struct graph *)exec;
    return SUCCESS;
}

} // namespace standin
