/* The seam between matmul.c and the micro-kernels: one struct matmul_kernel for each instruction
 * set and layout of W.
 *
 * matmul.c cuts a product into parts, a run of rows of W with a block of rows of x, and gives each
 * to a thread. A kernel computes one part on the calling thread. A kernel may want x in a form of
 * its own: it says how many bytes that takes and packs it, and nobody else reads it.
 *
 * A new kernel is a file matmul_ISA.c, whose fill function is a line in kernels.c. It must give an
 * output element the same bits whatever the rows and outputs of the part.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef KERNELS_MATMUL_H
#define KERNELS_MATMUL_H

#include <stdbool.h>
#include <stddef.h>

#include "weights/mat.h"

struct kernel_table;

/* n rows of weights, row_bytes apart. n = 0: none, or not known. */
struct matmul_rows {
    const unsigned char *data;
    size_t n, row_bytes;
};

/* y [n_rows, n_out] (stride ldy) = x [n_rows, n_in] W [n_out, n_in]^T + bias [n_out]. */
struct matmul_part {
    float *y;
    size_t ldy;
    const void *x; // f32, stride ldx; or what pack_x made of the block
    size_t ldx;    // in floats
    size_t n_rows, n_out, n_in;
    const unsigned char *w;
    const float *bias; // or NULL
    // MAT_G4 and MAT_G8: scales of the whole matrix, and which of its rows w is; else NULL.
    const struct mat_quant *quant;
    size_t first;
    void *scratch; // MATMUL_SCRATCH bytes of this thread, 64-byte aligned
    // What to prefetch: the rest of W, where it is in no cache yet, and what is multiplied next.
    bool w_is_cold;
    struct matmul_rows next;
};

/* Panels [begin, end) of a block of x are packed. */
struct matmul_pack {
    void *to;       // x_bytes(n_rows, n_in), 64-byte aligned
    const float *x; // [n_rows, n_in], stride ldx
    size_t ldx, n_rows, n_in;
    const uint32_t *order; // [n_in] input k of the packed x is x[order[k]]; NULL: x[k]
};

enum { MATMUL_SCRATCH = 1 << 19 };

struct matmul_kernel {
    enum mat_layout layout;
    size_t panel_rows; // rows of W that no part divides; 0: any cut is right
    // Rows of x from which this kernel is used. For fewer, what the table had before stays.
    size_t least_rows;
    // Whether the kernel multiplies w, which is of its layout; NULL: it does.
    bool (*takes)(const struct mat *w);
    // Bytes of n_rows of packed x, a multiple of 64; those of several blocks add up. SIZE_MAX if it
    // overflows. NULL: the kernel reads x as it is.
    size_t (*x_bytes)(size_t n_rows, size_t n_in);
    size_t (*n_panels)(size_t n_rows); // threads share the packing of a block by panels
    void (*pack_x)(const struct matmul_pack *p, size_t begin, size_t end);
    void (*multiply)(const struct matmul_part *m);
    // Rows of x that go through W together, where the default of matmul.c is not wanted; or NULL.
    size_t (*block_rows)(size_t n_in);
    // n elements of W as f32. Where W has to be widened anyway and the CPU does it beside the
    // multiply-adds for nothing, or where W is f32: NULL.
    void (*widen)(float *to, const unsigned char *w, size_t n);
};

/* Adds n kernels to the table, each in place of what it has for the layout. What one with
 * least_rows replaces goes on with fewer rows of x. */
void matmul_register(struct kernel_table *t, const struct matmul_kernel *kernels, size_t n);

#endif
