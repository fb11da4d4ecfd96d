/* wgmma, the matrix instruction of a warpgroup (PTX ISA, wgmma.mma_async). CU_WGMMA is defined if
 * the target has it (sm_90a).
 *
 * A block of x is 128 rows of 128 bytes (64 k), in groups of 8 rows; the 16-byte piece p of row r
 * is at p ^ (r & 7). A pointer into it is advanced by 32 bytes for each 16 k.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BACKEND_CUDA_WGMMA_H
#define BACKEND_CUDA_WGMMA_H

#include "backend/cuda/device.h"

#ifdef CUDA_SHIM
#define CU_WGMMA // shim.h has the functions
#elif !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL) // the host's pass needs the names
#define CU_WGMMA

DEVICE void wgmma_fence(void) {
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
DEVICE void wgmma_commit(void) {
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
#define wgmma_wait(pending)                                                                        \
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory")

/* The descriptor of a block: 128-byte swizzle, 1024 bytes from 8 rows to the next 8. */
DEVICE uint64_t wgmma_tile(const void *p) {
    uint32_t at = (uint32_t)__cvta_generic_to_shared(p);
    return (uint64_t)((at & 0x3FFFF) >> 4) | (uint64_t)1 << 16 | (uint64_t)64 << 32 |
           (uint64_t)1 << 62;
}

/* How many registers a thread of this warpgroup may use from here on; the block's sum must not grow.
 * The compiler assigns them by the branch that this is in. */
#define registers_more(n)  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n))
#define registers_fewer(n) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n))

#define WGMMA_D                                                                                    \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_REGISTERS(d)                                                                         \
    "+f"((d)[0]), "+f"((d)[1]), "+f"((d)[2]), "+f"((d)[3]), "+f"((d)[4]), "+f"((d)[5]),            \
        "+f"((d)[6]), "+f"((d)[7]), "+f"((d)[8]), "+f"((d)[9]), "+f"((d)[10]), "+f"((d)[11]),      \
        "+f"((d)[12]), "+f"((d)[13]), "+f"((d)[14]), "+f"((d)[15]), "+f"((d)[16]), "+f"((d)[17]),  \
        "+f"((d)[18]), "+f"((d)[19]), "+f"((d)[20]), "+f"((d)[21]), "+f"((d)[22]), "+f"((d)[23]),  \
        "+f"((d)[24]), "+f"((d)[25]), "+f"((d)[26]), "+f"((d)[27]), "+f"((d)[28]), "+f"((d)[29]),  \
        "+f"((d)[30]), "+f"((d)[31]), "+f"((d)[32]), "+f"((d)[33]), "+f"((d)[34]), "+f"((d)[35]),  \
        "+f"((d)[36]), "+f"((d)[37]), "+f"((d)[38]), "+f"((d)[39]), "+f"((d)[40]), "+f"((d)[41]),  \
        "+f"((d)[42]), "+f"((d)[43]), "+f"((d)[44]), "+f"((d)[45]), "+f"((d)[46]), "+f"((d)[47]),  \
        "+f"((d)[48]), "+f"((d)[49]), "+f"((d)[50]), "+f"((d)[51]), "+f"((d)[52]), "+f"((d)[53]),  \
        "+f"((d)[54]), "+f"((d)[55]), "+f"((d)[56]), "+f"((d)[57]), "+f"((d)[58]), "+f"((d)[59]),  \
        "+f"((d)[60]), "+f"((d)[61]), "+f"((d)[62]), "+f"((d)[63])

/* d [64, 128] (+)= a [64, 16] b [128, 16]^T, a in the registers of the group's warps as mma has it,
 * 16 rows each; d in a warp: mma tiles of columns 8 j at d + 4 j. Not add: from zero. */
template <int TYPE> DEVICE void wgmma_128(float d[64], uint4 a, const void *b, bool add) {
    if (TYPE == CU_BF16)
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" WGMMA_D
                     "}, {%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}\n"
                     : WGMMA_REGISTERS(d)
                     : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(wgmma_tile(b)), "r"((int)add));
    else
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" WGMMA_D
                     "}, {%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}\n"
                     : WGMMA_REGISTERS(d)
                     : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "l"(wgmma_tile(b)), "r"((int)add));
}

#endif

#endif
