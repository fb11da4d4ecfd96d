/* What all tiles share: tiles.c and tiles_c.c include this, then matmul_tile.h and mix_tile.h for
 * each instruction set.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_TILE_H
#define KERNELS_TILE_H

#include "kernels/table.h"
#include "kernels/approx.h"

enum {
    LOWER = 1, // of the two rows in a lane: mix_tile.h
    UPPER = 2,
    BURST = 128,           // bytes of each of a single row's streams in turn: two cache lines
    FETCH_PAUSE = 8,       // see matmul_tile.h
    MOST_ROWS = TALL_ROWS, // of any tile
    MOST_OUTS = 6
};

/* Rows of w that will be wanted next, or a part of each, fetched line by line, as evenly as the
 * steps of tiles go on: what is asked for faster than the memory gives it, CPUs drop. */
struct fetch {
    const unsigned char *at, *row_end; // the next line, and where its row ends
    size_t row_bytes, stride, lines;   // of a row, from row to row, of all
    size_t pace, owed;                 // at a time, and not fetched yet: in 1 / LINE of a line
};
enum { LINE = 1 << 16 };

/* `bytes` from p on of each of n rows. */
EVERY_ISA struct fetch fetch_rows(const unsigned char *p, size_t bytes, size_t stride, size_t n) {
    return (struct fetch){.at = p,
                          .row_end = p + bytes,
                          .row_bytes = bytes,
                          .stride = stride,
                          .lines = n * ((bytes + 63) / 64)};
}
/* What follows outputs [o, o + chunk) of n_out, of k before `to`: the next part of their rows of w,
 * the first of the chunk behind them, or of what is multiplied then. */
EVERY_ISA struct fetch fetch_next(const unsigned char *w, size_t o, size_t n_out, size_t chunk,
                                  size_t to, size_t part, size_t n_in, size_t stride,
                                  struct cold cold) {
    const size_t size = stride / n_in, left = n_out - o;
    struct rows_of_w rows = {w + o * stride, left};
    size_t offset = to;
    if (to == n_in) {
        offset = 0;
        rows = left > chunk ? (struct rows_of_w){rows.w + chunk * stride, left - chunk} : cold.next;
    }
    if (!cold.here && (to < n_in || left > chunk))
        rows.n = 0;
    const size_t bytes = (n_in - offset < part ? n_in - offset : part) * size;
    return fetch_rows(rows.w + offset * size, bytes, stride, rows.n < chunk ? rows.n : chunk);
}

/* So many bytes at p. */
EVERY_ISA struct fetch fetch_bytes(const unsigned char *p, size_t bytes) {
    return fetch_rows(p, bytes, 0, 1);
}
/* R of n_rows rows do it so many times: their share of the lines. */
EVERY_ISA void fetch_at_pace(struct fetch *f, size_t R, size_t n_rows, size_t times) {
    f->pace = times > 0 ? f->lines * R * LINE / (n_rows * times) : 0;
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

/* How many of a row's n elements go through all tiles of a chunk at a time, where there are n_rows:
 * about equal parts, in whole steps. */
EVERY_ISA size_t part_of_row(size_t n, size_t size, size_t step, size_t n_rows) {
    const size_t most = n_rows < CUT_ROWS ? FEW_BYTES : ROW_BYTES,
                 parts = 1 + n * size / (most + 1);
    return (n + parts * step - 1) / (parts * step) * step;
}

#define GLUE_(a, b) a##_##b
#define GLUE(a, b)  GLUE_(a, b)
#define NAME(f)     GLUE(f, ISA)

#endif
