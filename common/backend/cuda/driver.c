/* Opens and closes a GPU, and allocates its memory: see driver.h.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/cuda/image.h"
#include "backend/cuda/private.h"
#include "base/io.h"
#include "base/mem.h"
#include "kernels/cores.h"

enum { OLDEST_SM = 80 }; // bf16 on tensor cores, and cp.async
static const size_t chunk_bytes = (size_t)32 << 20;
static const size_t image_max = (size_t)1 << 30; // bytes of the file that LLM_CUDA_IMAGE names

/* Loads the driver and counts its devices, at least one. */
static int start_driver(struct cu_api *a, int *n_devices, struct err *e) {
    if (cu_api_load(a, e) != 0)
        return -1;
    int r = a->cuInit(0);
    if (r == API_SUCCESS)
        r = a->cuDeviceGetCount(n_devices);
    if (r == API_ERROR_NO_DEVICE || (r == API_SUCCESS && *n_devices < 1))
        return err_set(e, EXIT_SYSTEM, "no CUDA device: the driver finds none");
    return r == API_SUCCESS ? 0 : cu_api_fail(a, r, e, "starting the CUDA driver");
}

/* Fills *info and *virtual_memory. */
static int look_at(const struct cu_api *a, int device, struct cu_info *info, int *virtual_memory,
                   struct err *e) {
    int major = 0, minor = 0, n_sms = 0, l2 = 0, shared = 0;
    const struct {
        int id, *out;
    } wanted[] = {
        {API_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, &major},
        {API_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, &minor},
        {API_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, &n_sms},
        {API_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, &l2},
        {API_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, &shared},
        {API_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, virtual_memory},
    };
    *info = (struct cu_info){0};
    int r = a->cuDriverGetVersion(&info->driver);
    if (r == API_SUCCESS)
        r = a->cuDeviceGetName(info->name, (int)sizeof info->name, device);
    if (r == API_SUCCESS)
        r = a->cuDeviceTotalMem(&info->total_bytes, device);
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && r == API_SUCCESS; i++)
        r = a->cuDeviceGetAttribute(wanted[i].out, wanted[i].id, device);
    if (r != API_SUCCESS)
        return cu_api_fail(a, r, e, "asking what the GPU is");
    info->sm = 10 * major + minor;
    info->n_sms = (unsigned)n_sms;
    info->l2_bytes = (size_t)l2;
    info->shared_bytes = (size_t)shared;
    return 0;
}

/* The device's primary context, current in this thread, and a stream in it. */
static int make_stream(struct cu *c, struct err *e) {
    // Spinning returns some 20 us sooner, but keeps a CPU busy. If another library in this process
    // has the context already, its choice stays.
    unsigned flags = physical_cores() > 2 ? API_CTX_SCHED_SPIN : API_CTX_SCHED_BLOCKING_SYNC;
    (void)c->api.cuDevicePrimaryCtxSetFlags(c->device, flags);
    int r = c->api.cuDevicePrimaryCtxRetain(&c->context, c->device);
    if (r == API_SUCCESS)
        r = c->api.cuCtxSetCurrent(c->context);
    if (r == API_SUCCESS)
        r = c->api.cuStreamCreate(&c->stream, API_STREAM_NON_BLOCKING);
    return r == API_SUCCESS ? 0 : cu_api_fail(&c->api, r, e, "opening %s", c->info.name);
}

/* The bytes of the first module of an image: of its fat binary if another one follows it, else of
 * the whole image. A fat binary begins with a magic number, a version, the bytes of this header,
 * and the bytes that follow the header. */
static size_t first_module(struct str image) {
    struct {
        uint32_t magic;
        uint16_t version, header_bytes;
        uint64_t bytes;
    } head;
    if (image.n < sizeof head)
        return image.n;
    memcpy(&head, image.p, sizeof head);
    if (head.magic != 0xba55ed50 || head.header_bytes > image.n ||
        head.bytes > image.n - head.header_bytes)
        return image.n;
    return head.header_bytes + (size_t)head.bytes;
}

/* Loads each module of the image. Returns a driver's result. */
static int load_modules(struct cu *c, struct str image) {
    int r = API_SUCCESS;
    for (size_t n; image.n > 0 && c->n_modules < CU_MODULES && r == API_SUCCESS;
         image.p += n, image.n -= n) {
        n = first_module(image);
        r = c->api.cuModuleLoadData(&c->modules[c->n_modules], image.p);
        if (r == API_SUCCESS)
            c->n_modules++;
    }
    return r;
}

static int load_kernels(struct cu *c, struct err *e) {
    const char *path = getenv("LLM_CUDA_IMAGE");
    struct buf file = {0};
    struct str image = cu_image();
    if (path && !*path)
        path = NULL;
    if (path) {
        if (read_file(path, image_max, &file, e) != 0) {
            buf_free(&file);
            return -1;
        }
        image = buf_view(&file); // ends in NUL, as PTX must
    }
    bool none = image.n == 0;
    int r = load_modules(c, image);
    buf_free(&file);
    if (none && path)
        return err_set(e, EXIT_DATA, "no GPU kernels: %s is empty", path);
    if (none)
        return err_set(e, EXIT_SYSTEM,
                       "this build has no GPU kernels (nvcc was not found when it was built)");
    if (r == API_SUCCESS)
        return 0;
    return cu_api_fail(&c->api, r, e,
                       "%s, on %s, compute capability %d.%d, by a driver for CUDA %d.%d",
                       path ? path : "this build's GPU kernels", c->info.name, c->info.sm / 10,
                       c->info.sm % 10, c->info.driver / 1000, c->info.driver % 1000 / 10);
}

static int open_device(struct cu *c, unsigned index, struct err *e) {
    int n_devices, virtual_memory;
    if (start_driver(&c->api, &n_devices, e) != 0)
        return -1;
    if (index >= (unsigned)n_devices)
        return err_set(e, EXIT_SYSTEM, "no GPU %u: this machine has %d, counted from 0", index,
                       n_devices);
    int r = c->api.cuDeviceGet(&c->device, (int)index);
    if (r != API_SUCCESS)
        return cu_api_fail(&c->api, r, e, "GPU %u", index);
    if (look_at(&c->api, c->device, &c->info, &virtual_memory, e) != 0)
        return err_where(e, "GPU %u", index);
    c->virtual_memory = virtual_memory != 0;
    if (c->info.sm < OLDEST_SM)
        return err_set(e, EXIT_SYSTEM,
                       "the GPU has compute capability %d.%d, and 8.0 is needed: GPU %u, %s",
                       c->info.sm / 10, c->info.sm % 10, index, c->info.name);
    return make_stream(c, e) != 0 || load_kernels(c, e) != 0 ? -1 : 0;
}

int cu_open(struct cu **out, unsigned index, struct err *e) {
    struct cu *c = xcalloc(1, sizeof *c);
    c->owner = getpid();
    if (open_device(c, index, e) != 0) {
        cu_close(c);
        *out = NULL;
        return -1;
    }
    *out = c;
    return 0;
}

void cu_close(struct cu *c) {
    if (!c)
        return;
    if (c->owner == getpid() && c->context) {
        if (c->stream)
            (void)c->api.cuStreamSynchronize(c->stream);
        cu_stages_free(c);
        cu_marks_free(c);
        if (c->begin)
            (void)c->api.cuEventDestroy(c->begin);
        if (c->end)
            (void)c->api.cuEventDestroy(c->end);
        while (c->n_modules > 0)
            (void)c->api.cuModuleUnload(c->modules[--c->n_modules]);
        if (c->stream)
            (void)c->api.cuStreamDestroy(c->stream);
        (void)c->api.cuDevicePrimaryCtxRelease(c->device);
    }
    cu_kernels_free(c);
    free(c);
}

int cu_list(FILE *out, struct err *e) {
    struct cu_api a;
    int n_devices;
    if (start_driver(&a, &n_devices, e) != 0)
        return -1;
    for (int i = 0; i < n_devices; i++) {
        struct cu_info info;
        int device = 0, unused, r = a.cuDeviceGet(&device, i);
        if (r != API_SUCCESS)
            return cu_api_fail(&a, r, e, "GPU %d", i);
        if (look_at(&a, device, &info, &unused, e) != 0)
            return err_where(e, "GPU %d", i);
        fprintf(out, "cuda:%d  %s, compute capability %d.%d, %.1f GB%s\n", i, info.name,
                info.sm / 10, info.sm % 10, (double)info.total_bytes / 1e9,
                info.sm < OLDEST_SM ? " (too old: 8.0 is needed)" : "");
    }
    return 0;
}

const struct cu_info *cu_info(const struct cu *c) {
    return &c->info;
}

int cu_free_bytes(struct cu *c, size_t *out, struct err *e) {
    size_t total;
    int r = c->api.cuMemGetInfo(out, &total);
    return r == API_SUCCESS ? 0 : cu_api_fail(&c->api, r, e, "asking for the GPU's free memory");
}

int cu_alloc(struct cu *c, size_t bytes, const char *what, void **out, struct err *e) {
    uint64_t p = 0;
    int r = c->api.cuMemAlloc(&p, bytes > 0 ? bytes : 1);
    *out = cu_pointer(p);
    return r == API_SUCCESS ? 0
                            : cu_api_fail(&c->api, r, e, "%.1f MB of GPU memory for %s",
                                          cu_megabytes(bytes), what);
}

void cu_free(struct cu *c, void *p) {
    if (p)
        (void)c->api.cuMemFree(cu_address(p));
}

int cu_pinned_alloc(struct cu *c, size_t bytes, const char *what, void **out, struct err *e) {
    *out = NULL;
    int r = c->api.cuMemHostAlloc(out, bytes > 0 ? bytes : 1, 0);
    if (r == API_SUCCESS)
        return 0;
    *out = NULL;
    return cu_api_fail(&c->api, r, e, "%.1f MB of pinned memory for %s", cu_megabytes(bytes), what);
}

void cu_pinned_free(struct cu *c, void *p) {
    if (p)
        (void)c->api.cuMemFreeHost(p);
}

static struct cu_mem_prop kind_of_memory(const struct cu *c) {
    return (struct cu_mem_prop){.type = API_MEM_ALLOCATION_TYPE_PINNED,
                                .location = {API_MEM_LOCATION_TYPE_DEVICE, c->device}};
}

/* bytes, rounded up to the unit of allocation; 0 if that overflows. */
static size_t whole(size_t bytes, size_t granularity) {
    size_t up;
    return add_size(bytes, granularity - 1, &up) ? up / granularity * granularity : 0;
}

static int granularity_of(struct cu *c, size_t *out, struct err *e) {
    struct cu_mem_prop prop = kind_of_memory(c);
    int r = c->api.cuMemGetAllocationGranularity(out, &prop, API_MEM_ALLOC_GRANULARITY_RECOMMENDED);
    return r == API_SUCCESS && *out > 0
               ? 0
               : cu_api_fail(&c->api, r, e, "asking how GPU memory is given out");
}

int cu_reserve(struct cu *c, struct cu_region *r, size_t bytes, struct err *e) {
    size_t granularity;
    uint64_t base = 0;
    *r = (struct cu_region){0};
    if (!c->virtual_memory)
        return err_set(e, EXIT_SYSTEM, "the GPU cannot map memory to chosen addresses: %s",
                       c->info.name);
    if (granularity_of(c, &granularity, e) != 0)
        return -1;
    size_t all = whole(bytes > 0 ? bytes : 1, granularity);
    if (all == 0)
        return err_set(e, EXIT_SYSTEM, "more GPU addresses than there are: %zu bytes", bytes);
    int result = c->api.cuMemAddressReserve(&base, all, 0, 0, 0);
    if (result != API_SUCCESS)
        return cu_api_fail(&c->api, result, e, "%.1f MB of GPU addresses", cu_megabytes(all));
    r->base = cu_pointer(base);
    r->bytes = all;
    return 0;
}

/* Maps memory to the next `bytes` addresses. Returns a driver's result. */
static int add_chunk(struct cu *c, struct cu_region *r, size_t bytes) {
    struct cu_mem_prop prop = kind_of_memory(c);
    struct cu_mem_access access = {.location = prop.location,
                                   .flags = API_MEM_ACCESS_FLAGS_PROT_READWRITE};
    uint64_t handle, at = cu_address(r->base) + r->committed;
    int result = c->api.cuMemCreate(&handle, bytes, &prop, 0);
    if (result != API_SUCCESS)
        return result;
    result = c->api.cuMemMap(at, bytes, 0, handle, 0);
    (void)c->api.cuMemRelease(handle); // the mapping keeps the memory
    if (result != API_SUCCESS)
        return result;
    result = c->api.cuMemSetAccess(at, bytes, &access, 1);
    if (result != API_SUCCESS) {
        (void)c->api.cuMemUnmap(at, bytes);
        return result;
    }
    r->chunks = xreallocarray(r->chunks, r->n_chunks + 1, sizeof *r->chunks);
    r->chunks[r->n_chunks++] = bytes;
    r->committed += bytes;
    return API_SUCCESS;
}

int cu_commit(struct cu *c, struct cu_region *r, size_t upto, struct err *e) {
    size_t granularity;
    if (upto <= r->committed)
        return 0;
    if (upto > r->bytes)
        return err_set(e, EXIT_BUG, "memory for %zu of %zu GPU addresses", upto, r->bytes);
    if (granularity_of(c, &granularity, e) != 0)
        return -1;
    // r->bytes and r->committed are whole, so all of these are.
    size_t left = r->bytes - r->committed, need = whole(upto - r->committed, granularity);
    size_t more = larger(need, whole(chunk_bytes, granularity));
    int result = add_chunk(c, r, more < left ? more : left);
    if (result == API_ERROR_OUT_OF_MEMORY && need < more)
        result = add_chunk(c, r, need);
    return result == API_SUCCESS
               ? 0
               : cu_api_fail(&c->api, result, e, "%.1f MB more of GPU memory", cu_megabytes(need));
}

void cu_unreserve(struct cu *c, struct cu_region *r) {
    uint64_t at = cu_address(r->base);
    if (r->base) {
        (void)c->api.cuStreamSynchronize(c->stream);
        for (size_t i = 0; i < r->n_chunks; at += r->chunks[i++])
            (void)c->api.cuMemUnmap(at, r->chunks[i]);
        (void)c->api.cuMemAddressFree(cu_address(r->base), r->bytes);
    }
    free(r->chunks);
    *r = (struct cu_region){0};
}
