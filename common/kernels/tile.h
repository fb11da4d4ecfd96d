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
    BURST = 128,           // bytes of each of a single row's streams in turn: two cache lines
    ROW_BYTES = 4096,      // of a row of x: of a tile's rows so much stays in L1, while w comes from L2
    CHUNK_BYTES = 3 << 18, // of w that stay in L2 (or L3) while all rows of x go by,
    CHUNK_OUTS = 64        // and rows of w at most: sums of so many are kept
};

/* What R of n_rows rows, the first of them row r, fetch of `ahead`: their part, so that memory is asked for as much at any
 * time. */
EVERY_ISA struct ahead ahead_share(struct ahead ahead, size_t r, size_t R, size_t n_rows) {
    size_t from = ahead.bytes * r / n_rows / 64 * 64, to = ahead.bytes * (r + R) / n_rows / 64 * 64;
    return (struct ahead){ahead.p + from, to - from};
}

/* What of the n bytes from p on is cold. */
EVERY_ISA struct ahead ahead_within(const unsigned char *p, size_t n, struct ahead cold) {
    if (cold.bytes == 0)
        return (struct ahead){p, 0};
    const unsigned char *from = p > cold.p ? p : cold.p;
    const unsigned char *end = p + n < cold.p + cold.bytes ? p + n : cold.p + cold.bytes;
    return (struct ahead){from, from < end ? (size_t)(end - from) : 0};
}

/* How many of a row's n elements go through all tiles of a chunk at a time: about equal parts, in whole steps. */
EVERY_ISA size_t part_of_row(size_t n, size_t size, size_t step) {
    size_t parts = 1 + n * size / (ROW_BYTES + 1);
    return (n + parts * step - 1) / (parts * step) * step;
}

/* Rows of w in a chunk: a multiple of `outs`. */
EVERY_ISA size_t chunk_outs(size_t stride, size_t outs) {
    size_t n = CHUNK_BYTES / (stride + 1) < CHUNK_OUTS ? CHUNK_BYTES / (stride + 1) : CHUNK_OUTS;
    return n < outs ? outs : n / outs * outs;
}

#define GLUE_(a, b) a##_##b
#define GLUE(a, b) GLUE_(a, b)
#define NAME(f) GLUE(f, ISA)

#endif
