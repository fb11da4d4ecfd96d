/* The part of NVIDIA's driver interface that the CUDA backend uses, loaded at run time.
 *
 * libcuda.so.1 comes with the driver, not with a toolkit. Declaring the functions here needs no
 * CUDA header to build, and opening the library with dlopen needs no driver to run on a machine
 * without a GPU. tests/cuda/layout_check.cc compares this file with cuda.h.
 *
 * A handle of the driver is a void *. An address on the device is a uint64_t. A result is an int,
 * API_SUCCESS or an error. Source: CUDA Driver API reference, 11.8 to 13.0.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_API_H
#define BACKEND_CUDA_API_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    API_SUCCESS = 0, // CUDA_SUCCESS
    API_ERROR_OUT_OF_MEMORY = 2,
    API_ERROR_NO_DEVICE = 100,
    API_ERROR_NOT_FOUND = 500,

    API_CTX_SCHED_SPIN = 1, // CU_CTX_SCHED_SPIN, and so on
    API_CTX_SCHED_BLOCKING_SYNC = 4,
    API_STREAM_NON_BLOCKING = 1,
    API_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1,
    API_EVENT_DEFAULT = 0,
    API_EVENT_DISABLE_TIMING = 2,

    API_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16,
    API_DEVICE_ATTRIBUTE_L2_CACHE_SIZE = 38,
    API_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75,
    API_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76,
    API_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97,
    API_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED = 102,

    API_MEM_ALLOCATION_TYPE_PINNED = 1,
    API_MEM_LOCATION_TYPE_DEVICE = 1,
    API_MEM_ACCESS_FLAGS_PROT_READWRITE = 3,
    API_MEM_ALLOC_GRANULARITY_RECOMMENDED = 1,

    API_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8,
    API_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION = 6,
};

struct cu_mem_location { // CUmemLocation
    int type, id;
};
struct cu_mem_prop { // CUmemAllocationProp
    int type, handle_types;
    struct cu_mem_location location;
    void *unused;
    unsigned char flags[8];
};
struct cu_mem_access { // CUmemAccessDesc
    struct cu_mem_location location;
    int flags;
};
struct cu_launch_attribute { // CUlaunchAttribute
    int id;
    char pad[4];
    union {
        int value;
        uint64_t room[8];
    } u;
};
struct cu_launch_config { // CUlaunchConfig
    unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
    void *stream;
    struct cu_launch_attribute *attributes;
    unsigned n_attributes;
};

/* F(name, what the library's symbol has after the name, parameters). */
#define CU_API(F)                                                                                  \
    F(cuInit, "", (unsigned flags))                                                                \
    F(cuDriverGetVersion, "", (int *out))                                                          \
    F(cuGetErrorName, "", (int error, const char **out))                                           \
    F(cuGetErrorString, "", (int error, const char **out))                                         \
    F(cuDeviceGetCount, "", (int *out))                                                            \
    F(cuDeviceGet, "", (int *out, int index))                                                      \
    F(cuDeviceGetName, "", (char *out, int size, int device))                                      \
    F(cuDeviceTotalMem, "_v2", (size_t * out, int device))                                         \
    F(cuDeviceGetAttribute, "", (int *out, int attribute, int device))                             \
    F(cuDevicePrimaryCtxSetFlags, "_v2", (int device, unsigned flags))                             \
    F(cuDevicePrimaryCtxRetain, "", (void **out, int device))                                      \
    F(cuDevicePrimaryCtxRelease, "_v2", (int device))                                              \
    F(cuCtxSetCurrent, "", (void *context))                                                        \
    F(cuMemGetInfo, "_v2", (size_t * available, size_t * total))                                   \
    F(cuMemAlloc, "_v2", (uint64_t * out, size_t bytes))                                           \
    F(cuMemFree, "_v2", (uint64_t p))                                                              \
    F(cuMemHostAlloc, "", (void **out, size_t bytes, unsigned flags))                              \
    F(cuMemFreeHost, "", (void *p))                                                                \
    F(cuMemAddressReserve, "",                                                                     \
      (uint64_t * out, size_t bytes, size_t alignment, uint64_t wanted, unsigned long long flags)) \
    F(cuMemAddressFree, "", (uint64_t p, size_t bytes))                                            \
    F(cuMemCreate, "",                                                                             \
      (uint64_t * out, size_t bytes, const struct cu_mem_prop *prop, unsigned long long flags))    \
    F(cuMemRelease, "", (uint64_t handle))                                                         \
    F(cuMemMap, "",                                                                                \
      (uint64_t p, size_t bytes, size_t offset, uint64_t handle, unsigned long long flags))        \
    F(cuMemUnmap, "", (uint64_t p, size_t bytes))                                                  \
    F(cuMemSetAccess, "",                                                                          \
      (uint64_t p, size_t bytes, const struct cu_mem_access *access, size_t n))                    \
    F(cuMemGetAllocationGranularity, "",                                                           \
      (size_t * out, const struct cu_mem_prop *prop, int option))                                  \
    F(cuMemcpyHtoDAsync, "_v2", (uint64_t dst, const void *src, size_t bytes, void *stream))       \
    F(cuMemcpyDtoHAsync, "_v2", (void *dst, uint64_t src, size_t bytes, void *stream))             \
    F(cuMemcpyDtoDAsync, "_v2", (uint64_t dst, uint64_t src, size_t bytes, void *stream))          \
    F(cuMemsetD8Async, "", (uint64_t dst, unsigned char value, size_t bytes, void *stream))        \
    F(cuStreamCreate, "", (void **out, unsigned flags))                                            \
    F(cuStreamDestroy, "_v2", (void *stream))                                                      \
    F(cuStreamSynchronize, "", (void *stream))                                                     \
    F(cuStreamBeginCapture, "_v2", (void *stream, int mode))                                       \
    F(cuStreamEndCapture, "", (void *stream, void **out_graph))                                    \
    F(cuGraphInstantiateWithFlags, "", (void **out, void *graph, unsigned long long flags))        \
    F(cuGraphLaunch, "", (void *executable, void *stream))                                         \
    F(cuGraphExecDestroy, "", (void *executable))                                                  \
    F(cuGraphDestroy, "", (void *graph))                                                           \
    F(cuEventCreate, "", (void **out, unsigned flags))                                             \
    F(cuEventDestroy, "_v2", (void *event))                                                        \
    F(cuEventRecord, "", (void *event, void *stream))                                              \
    F(cuEventSynchronize, "", (void *event))                                                       \
    F(cuEventElapsedTime, "", (float *out_ms, void *begin, void *end))                             \
    F(cuModuleLoadData, "", (void **out, const void *image))                                       \
    F(cuModuleUnload, "", (void *module))                                                          \
    F(cuModuleGetFunction, "", (void **out, void *module, const char *name))                       \
    F(cuFuncSetAttribute, "", (void *function, int attribute, int value))                          \
    F(cuLaunchKernelEx, "",                                                                        \
      (const struct cu_launch_config *config, void *function, void **params, void **extra))

struct cu_api {
#define CU_API_MEMBER(name, version, params) int(*name) params;
    CU_API(CU_API_MEMBER)
#undef CU_API_MEMBER
};

/* Opens libcuda.so.1, which the system's loader looks for, and fills *a. -1 (EXIT_SYSTEM) if there
 * is no such library, or if it is too old and lacks a function. The library stays open. */
int cu_api_load(struct cu_api *a, struct err *e);

/* Sets EXIT_SYSTEM and "NAME (description): where", of the driver's error r; returns -1. */
int cu_api_fail(const struct cu_api *a, int r, struct err *e, const char *where, ...)
    PRINTF_LIKE(4, 5);

#endif
