/* What all tiles share: tiles.c and tiles_c.c include this, then matmul_tile.h and mix_tile.h for each instruction set.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TILE_H
#define KERNELS_TILE_H

#include "kernels/table.h"
#include "kernels/vec.h"

enum {
    LOWER = 1, // of the two rows in a lane: mix_tile.h
    UPPER = 2,
    BURST = 128 // bytes of each of a single row's streams in turn: two cache lines
};

/* What R of n_rows rows, the first of them row r, fetch of `ahead`: their part, so that memory is asked for as much at any
 * time. */
EVERY_ISA struct ahead ahead_share(struct ahead ahead, size_t r, size_t R, size_t n_rows) {
    size_t from = ahead.bytes * r / n_rows / 64 * 64, to = ahead.bytes * (r + R) / n_rows / 64 * 64;
    return (struct ahead){ahead.p + from, to - from};
}

#define GLUE_(a, b) a##_##b
#define GLUE(a, b) GLUE_(a, b)
#define NAME(f) GLUE(f, ISA)

#endif
