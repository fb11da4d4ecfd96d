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
    BURST = 128,   // bytes of each of a single row's streams in turn: two cache lines
    MOST_ROWS = TALL_ROWS, // of any tile
    MOST_OUTS = 6
};

/* Rows of w that will be wanted next, or a part of each, fetched line by line, as evenly as the steps of tiles go on: what is asked
 * for faster than the memory gives it, CPUs drop. */
struct fetch {
    const unsigned char *at, *row_end; // the next line, and where its row ends
    size_t row_bytes, stride, lines;   // of a row, from row to row, of all
    size_t pace, owed;                 // in a step, and not fetched yet: in 1 / LINE of a line
};
enum { LINE = 1 << 16 };

/* `bytes` of each of up to n rows of w from row `first` on, beginning `offset` bytes into it; those that are cold. */
EVERY_ISA struct fetch fetch_rows(const unsigned char *w, size_t stride, size_t first, size_t n, size_t offset, size_t bytes,
                                  struct cold cold) {
    size_t begin = first > cold.begin ? first : cold.begin, end = first + n < cold.end ? first + n : cold.end;
    const unsigned char *p = w + (begin < end ? begin * stride + offset : 0);
    return (struct fetch){.at = p, .row_end = p + bytes, .row_bytes = bytes, .stride = stride,
                          .lines = begin < end ? (end - begin) * ((bytes + 63) / 64) : 0};
}
/* So many bytes at p. */
EVERY_ISA struct fetch fetch_bytes(const unsigned char *p, size_t bytes) {
    return fetch_rows(p, bytes, 0, 1, 0, bytes, (struct cold){0, 1});
}
/* R of n_rows rows take so many steps: their share of the lines. */
EVERY_ISA void fetch_at_pace(struct fetch *f, size_t R, size_t n_rows, size_t steps) {
    f->pace = steps > 0 ? f->lines * R * LINE / (n_rows * steps) : 0;
}
EVERY_ISA void fetch_step(struct fetch *f) {
    for (f->owed += f->pace; f->owed >= LINE; f->owed -= LINE) {
        __builtin_prefetch(f->at, 0, 3);
        f->at += 64;
        if (f->at >= f->row_end) {
            f->row_end += f->stride;
            f->at = f->row_end - f->row_bytes;
        }
    }
}

/* How many of a row's n elements go through all tiles of a chunk at a time, where there are n_rows: about equal parts, in whole
 * steps. */
EVERY_ISA size_t part_of_row(size_t n, size_t size, size_t step, size_t n_rows) {
    const size_t most = n_rows < CUT_ROWS ? FEW_BYTES : ROW_BYTES, parts = 1 + n * size / (most + 1);
    return (n + parts * step - 1) / (parts * step) * step;
}

#define GLUE_(a, b) a##_##b
#define GLUE(a, b) GLUE_(a, b)
#define NAME(f) GLUE(f, ISA)

#endif
