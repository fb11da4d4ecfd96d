/* Two marks on code that is compiled for several instruction sets.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_EVERY_ISA_H
#define KERNELS_EVERY_ISA_H

/* A function without a target of its own: it is inlined into the variants that call it, and so
 * compiled for the instruction set of each. */
#define EVERY_ISA static inline __attribute__((always_inline))

/* Before a loop over an array of vectors. Without it compilers leave the array in memory. */
#if defined(__clang__)
#define UNROLLED _Pragma("clang loop unroll(full)")
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

#endif
