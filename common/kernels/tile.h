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

/* Bytes of w that will be wanted next, to be fetched meanwhile. */
struct ahead {
    const unsigned char *w;
    size_t bytes;
};

#define GLUE_(a, b) a##_##b
#define GLUE(a, b) GLUE_(a, b)
#define NAME(f) GLUE(f, ISA)

#endif
