/* AMX's tiles: their shape in our kernels, and the instructions as macros, so that one source is
 * compiled for the CPU's own and for emulated ones.
 *
 * A tile is up to 16 rows of up to 64 bytes. TDPBF16PS adds to each element of C, in f32:
 *
 *     A [rows, 32] bf16          e = the sum of the products at even k, one FMA each, from +0
 *     B [16 pairs, cols, 2]      o = the same at odd k
 *     C [rows, cols] f32         C = C + (e + o)
 *
 * Each FMA and addition rounds to nearest even. Subnormal inputs count as zero and subnormal
 * results become zero, whatever MXCSR says. Row r of B has the elements k = 2r and 2r + 1 of each
 * column side by side. So the order of additions depends on the groups of 32 k alone, not on the
 * shape. A group that is cut short is padded with zeros.
 *
 * TDPBSSD and its kind add four products of int8 to each element, in int32, which wraps.
 *
 * Source: Intel SDM, "AMX Instruction Set Reference".
 *
 *   TILE_SHAPE(rows, cols)    C gets this shape; A and B follow. Tiles lose their contents where
 *                             the shape is another one than before
 *   TILE_ZERO(t), TILE_LOAD(t, p, stride), TILE_STORE(t, p, stride)
 *   TILE_DP_BF16(c, a, b), TILE_DP_SS(c, a, b), and SU, US, UU: signs of A and of B
 *
 * t is a literal: 0 to 3 are of C's shape, 4 and 5 of A's, 6 and 7 of B's. Functions that use them
 * are AMX (x86.h), unless tiles are emulated.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TILE_H
#define KERNELS_TILE_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/every_isa.h"

enum {
    TILE_ROWS = 16,
    TILE_BYTES = 64,                        // of a row
    TILE_COLS = TILE_BYTES / sizeof(float), // of C
    TILE_K = TILE_BYTES / sizeof(uint16_t), // elements of k in a tile of bf16
    TILE_PAIRS = TILE_K / 2,                // rows of B
    TILES = 8
};

/* What LDTILECFG reads. */
struct tile_config {
    uint8_t palette, start_row, zero[14];
    uint16_t bytes[16]; // of a row
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "64 bytes");

/* C [rows, cols], A [rows, 64 bytes], B [16, cols]. */
EVERY_ISA struct tile_config tile_config_of(size_t rows, size_t cols) {
    struct tile_config c = {.palette = 1};
    for (size_t t = 0; t < TILES; t++) {
        c.rows[t] = (uint8_t)(t < 6 ? rows : TILE_PAIRS);
        c.bytes[t] = (uint16_t)(t == 4 || t == 5 ? TILE_BYTES : cols * sizeof(float));
    }
    return c;
}

#if defined(TILES_EMULATED) || defined(KERNELS_EMULATED)
#include "kernels/tile_emulated.h"
#define TILE_SHAPE(rows, cols)   tile_emulated_shape(rows, cols)
#define TILE_ZERO(t)             tile_emulated_zero(t)
#define TILE_LOAD(t, p, stride)  tile_emulated_load(t, p, stride)
#define TILE_STORE(t, p, stride) tile_emulated_store(t, p, stride)
#define TILE_DP_BF16(c, a, b)    tile_emulated_bf16(c, a, b)
#define TILE_DP_SS(c, a, b)      tile_emulated_int8(c, a, b, true, true)
#define TILE_DP_SU(c, a, b)      tile_emulated_int8(c, a, b, true, false)
#define TILE_DP_US(c, a, b)      tile_emulated_int8(c, a, b, false, true)
#define TILE_DP_UU(c, a, b)      tile_emulated_int8(c, a, b, false, false)
#else
/* In assembly, because GCC 12's intrinsics do not say which memory they read: the compiler may
 * then move a store of it past them. */
#include "kernels/amx.h"
#define TILE_ASM(text, ...)    __asm__ volatile(text : : __VA_ARGS__ : "memory")
#define TILE_SHAPE(rows, cols) amx_shape(rows, cols)
#define TILE_ZERO(t)           __asm__ volatile("tilezero %%tmm" #t ::: "memory")
#define TILE_LOAD(t, p, stride)                                                                    \
    TILE_ASM("tileloadd (%0,%1,1), %%tmm" #t, "r"(p), "r"((size_t)(stride)))
#define TILE_STORE(t, p, stride)                                                                   \
    TILE_ASM("tilestored %%tmm" #t ", (%0,%1,1)", "r"(p), "r"((size_t)(stride)))
#define TILE_DP(name, c, a, b)                                                                     \
    __asm__ volatile(name " %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")
#define TILE_DP_BF16(c, a, b) TILE_DP("tdpbf16ps", c, a, b)
#define TILE_DP_SS(c, a, b)   TILE_DP("tdpbssd", c, a, b)
#define TILE_DP_SU(c, a, b)   TILE_DP("tdpbsud", c, a, b)
#define TILE_DP_US(c, a, b)   TILE_DP("tdpbusd", c, a, b)
#define TILE_DP_UU(c, a, b)   TILE_DP("tdpbuud", c, a, b)
#endif

#endif
