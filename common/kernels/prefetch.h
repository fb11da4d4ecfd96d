/* Prefetches memory line by line, evenly spread over the steps of a kernel's inner loop.
 *
 * A kernel says which bytes it wants next (prefetch_rows, prefetch_bytes) and how many steps it
 * will take (prefetch_spread), then calls prefetch_step in each. The spreading matters: CPUs drop
 * prefetches that come faster than memory delivers.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_PREFETCH_H
#define KERNELS_PREFETCH_H

#include <stddef.h>

#include "kernels/every_isa.h"

/* Parts of rows, `stride` bytes apart. Rates are in 1 / PREFETCH_LINE of a cache line. */
enum { PREFETCH_LINE = 1 << 16 };
struct prefetch {
    const unsigned char *at, *row_end; // the next line, and where the part of its row ends
    size_t row_bytes, stride, lines;   // of a row's part, from row to row, of all parts
    size_t rate, due;                  // of a step, and not prefetched yet
};

/* `bytes` from p on, and of each of the n - 1 rows after it. */
EVERY_ISA struct prefetch prefetch_rows(const unsigned char *p, size_t bytes, size_t stride,
                                        size_t n) {
    return (struct prefetch){.at = p,
                             .row_end = p + bytes,
                             .row_bytes = bytes,
                             .stride = stride,
                             .lines = n * ((bytes + 63) / 64)};
}
EVERY_ISA struct prefetch prefetch_bytes(const unsigned char *p, size_t bytes) {
    return prefetch_rows(p, bytes, 0, 1);
}

/* The next `steps` steps, of R of n_rows rows, prefetch their share: R / n_rows of all lines. */
EVERY_ISA void prefetch_spread(struct prefetch *f, size_t R, size_t n_rows, size_t steps) {
    f->rate = steps > 0 ? f->lines * R * PREFETCH_LINE / (n_rows * steps) : 0;
}

EVERY_ISA void prefetch_step(struct prefetch *f) {
    for (f->due += f->rate; f->due >= PREFETCH_LINE; f->due -= PREFETCH_LINE) {
        __builtin_prefetch(f->at, 0, 3);
        f->at += 64;
        if (f->at >= f->row_end) {
            f->row_end += f->stride;
            f->at = f->row_end - f->row_bytes;
        }
    }
}

#endif
