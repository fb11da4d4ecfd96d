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
// The host's pass needs the names, too.
#elif !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
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

/* How many registers a thread of this warpgroup may use from here on; the block's sum must not
 * grow. The compiler assigns them by the branch that this is in. */
#define registers_more(n)  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(n))
#define registers_fewer(n) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(n))

#define WGMMA_D                                                                                    \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                       \
    "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "             \
    "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "             \
    "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define WGMMA_REGISTERS(how, d)                                                                    \
    how((d)[0]), how((d)[1]), how((d)[2]), how((d)[3]), how((d)[4]), how((d)[5]), how((d)[6]),     \
        how((d)[7]), how((d)[8]), how((d)[9]), how((d)[10]), how((d)[11]), how((d)[12]),           \
        how((d)[13]), how((d)[14]), how((d)[15]), how((d)[16]), how((d)[17]), how((d)[18]),        \
        how((d)[19]), how((d)[20]), how((d)[21]), how((d)[22]), how((d)[23]), how((d)[24]),        \
        how((d)[25]), how((d)[26]), how((d)[27]), how((d)[28]), how((d)[29]), how((d)[30]),        \
        how((d)[31]), how((d)[32]), how((d)[33]), how((d)[34]), how((d)[35]), how((d)[36]),        \
        how((d)[37]), how((d)[38]), how((d)[39]), how((d)[40]), how((d)[41]), how((d)[42]),        \
        how((d)[43]), how((d)[44]), how((d)[45]), how((d)[46]), how((d)[47]), how((d)[48]),        \
        how((d)[49]), how((d)[50]), how((d)[51]), how((d)[52]), how((d)[53]), how((d)[54]),        \
        how((d)[55]), how((d)[56]), how((d)[57]), how((d)[58]), how((d)[59]), how((d)[60]),        \
        how((d)[61]), how((d)[62]), how((d)[63])
#define WGMMA_128(how, type, d, a, b, add)                                                         \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " #add ", 0;\n"                                 \
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32." type "." type " {" WGMMA_D         \
                 "}, {%64, %65, %66, %67}, %68, p, 1, 1, 0;\n}\n"                                  \
                 : WGMMA_REGISTERS(how, d)                                                         \
                 : "r"((a).x), "r"((a).y), "r"((a).z), "r"((a).w), "l"(wgmma_tile(b)))
#define WGMMA_READ_WRITE "+f"
#define WGMMA_WRITE      "=f" // the registers may have held anything else before

/* d [64, 128] (+)= a [64, 16] b [128, 16]^T, a in the registers of the group's warps as mma has it,
 * 16 rows each; d in a warp: mma tiles of columns 8 j at d + 4 j. Not add: from zero. TYPE and add
 * are constants where this is called. */
template <int TYPE> DEVICE void wgmma_128(float d[64], uint4 a, const void *b, bool add) {
    if (TYPE == CU_BF16 && add)
        WGMMA_128(WGMMA_READ_WRITE, "bf16", d, a, b, 1);
    else if (TYPE == CU_BF16)
        WGMMA_128(WGMMA_WRITE, "bf16", d, a, b, 0);
    else if (add)
        WGMMA_128(WGMMA_READ_WRITE, "f16", d, a, b, 1);
    else
        WGMMA_128(WGMMA_WRITE, "f16", d, a, b, 0);
}
#endif

#endif
