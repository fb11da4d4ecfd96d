/* Whether common/backend/cuda/api.h says what NVIDIA's cuda.h says: compiled only, where there is a
 * toolkit. tests/cuda.bats
 *
 *     g++ -std=c++17 -fsyntax-only -Icommon -I/usr/local/cuda/include tests/cuda/layout_check.cc
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#include <cstring>
#include <type_traits>

extern "C" {
#include "backend/cuda/api.h"
}

#include <cuda.h>

/* ---- functions: the symbol that cuda.h's macro makes of the name, and the parameters */

/* A parameter of one and of the other agree: in size, and in being a pointer, to something
 * constant, of the same size. */
template <class A, class B> constexpr bool same_parameter() {
    using To = std::remove_pointer_t<A>;
    using Of = std::remove_pointer_t<B>;
    if (sizeof(A) != sizeof(B) || std::is_pointer_v<A> != (std::is_pointer_v<B>))
        return false;
    if constexpr (!std::is_pointer_v<A> || std::is_void_v<To> || std::is_void_v<Of>)
        return true; // a void * is a handle, which is a pointer to an unknown struct in cuda.h
    else
        return sizeof(To) == sizeof(Of) && std::is_const_v<To> == (std::is_const_v<Of>);
}
template <class... A, class... B> constexpr bool same(int (*)(A...), CUresult (*)(B...)) {
    if constexpr (sizeof...(A) != sizeof...(B))
        return false;
    else
        return (same_parameter<A, B>() && ...);
}
constexpr bool same_text(const char *a, const char *b) {
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}
#define TEXT_OF(name) #name
#define TEXT(name)    TEXT_OF(name)
// Of cuEventElapsedTime we take the first version, which older drivers have, and which has the
// parameters of the second.
#define FUNCTION(name, version, parameters)                                                        \
    static_assert(same((int(*) parameters) nullptr, (decltype(&name))nullptr), #name);             \
    static_assert(same_text(TEXT(name), #name version) || same_text(#name, "cuEventElapsedTime"),  \
                  #name);
CU_API(FUNCTION)
static_assert(sizeof(CUresult) == sizeof(int), "");

/* ---- constants */

#define CONSTANT(name) static_assert((int)API_##name == (int)CU_##name, #name);
static_assert((int)API_SUCCESS == (int)CUDA_SUCCESS, "");
static_assert((int)API_ERROR_OUT_OF_MEMORY == (int)CUDA_ERROR_OUT_OF_MEMORY, "");
static_assert((int)API_ERROR_NO_DEVICE == (int)CUDA_ERROR_NO_DEVICE, "");
static_assert((int)API_ERROR_NOT_FOUND == (int)CUDA_ERROR_NOT_FOUND, "");
CONSTANT(CTX_SCHED_SPIN)
CONSTANT(CTX_SCHED_BLOCKING_SYNC)
CONSTANT(STREAM_NON_BLOCKING)
CONSTANT(STREAM_CAPTURE_MODE_THREAD_LOCAL)
CONSTANT(EVENT_DEFAULT)
CONSTANT(EVENT_DISABLE_TIMING)
CONSTANT(DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
CONSTANT(DEVICE_ATTRIBUTE_L2_CACHE_SIZE)
CONSTANT(DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
CONSTANT(DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
CONSTANT(DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
CONSTANT(DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED)
CONSTANT(MEM_ALLOCATION_TYPE_PINNED)
CONSTANT(MEM_LOCATION_TYPE_DEVICE)
CONSTANT(MEM_ACCESS_FLAGS_PROT_READWRITE)
CONSTANT(MEM_ALLOC_GRANULARITY_RECOMMENDED)
CONSTANT(FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
CONSTANT(LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION)

/* ---- structs */

#define SIZE(ours, theirs)                                                                         \
    static_assert(                                                                                 \
        sizeof(struct ours) == sizeof(theirs) && alignof(struct ours) == alignof(theirs), #ours);
#define FIELD(ours, field, theirs, other)                                                          \
    static_assert(offsetof(struct ours, field) == offsetof(theirs, other) &&                       \
                      sizeof(((struct ours *)0)->field) == sizeof(((theirs *)0)->other),           \
                  #ours "." #field);
SIZE(cu_mem_location, CUmemLocation)
FIELD(cu_mem_location, type, CUmemLocation, type)
FIELD(cu_mem_location, id, CUmemLocation, id)
SIZE(cu_mem_prop, CUmemAllocationProp)
FIELD(cu_mem_prop, type, CUmemAllocationProp, type)
FIELD(cu_mem_prop, handle_types, CUmemAllocationProp, requestedHandleTypes)
FIELD(cu_mem_prop, location, CUmemAllocationProp, location)
FIELD(cu_mem_prop, unused, CUmemAllocationProp, win32HandleMetaData)
FIELD(cu_mem_prop, flags, CUmemAllocationProp, allocFlags)
SIZE(cu_mem_access, CUmemAccessDesc)
FIELD(cu_mem_access, location, CUmemAccessDesc, location)
FIELD(cu_mem_access, flags, CUmemAccessDesc, flags)
SIZE(cu_launch_attribute, CUlaunchAttribute)
FIELD(cu_launch_attribute, id, CUlaunchAttribute, id)
FIELD(cu_launch_attribute, u, CUlaunchAttribute, value)
FIELD(cu_launch_attribute, u.value, CUlaunchAttribute, value.programmaticStreamSerializationAllowed)
SIZE(cu_launch_config, CUlaunchConfig)
FIELD(cu_launch_config, grid_x, CUlaunchConfig, gridDimX)
FIELD(cu_launch_config, grid_y, CUlaunchConfig, gridDimY)
FIELD(cu_launch_config, grid_z, CUlaunchConfig, gridDimZ)
FIELD(cu_launch_config, block_x, CUlaunchConfig, blockDimX)
FIELD(cu_launch_config, block_y, CUlaunchConfig, blockDimY)
FIELD(cu_launch_config, block_z, CUlaunchConfig, blockDimZ)
FIELD(cu_launch_config, shared_bytes, CUlaunchConfig, sharedMemBytes)
FIELD(cu_launch_config, stream, CUlaunchConfig, hStream)
FIELD(cu_launch_config, attributes, CUlaunchConfig, attrs)
FIELD(cu_launch_config, n_attributes, CUlaunchConfig, numAttrs)
