/* Rows of f32 as a .npy file of shape [rows, columns], which numpy.load reads. Rows are ordered by
 * sequence; the rows of one sequence stay in the order in which they arrived. The file appears
 * under its name when it is complete. Format: numpy.lib.format, version 1.0.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WIRE_NPY_H
#define WIRE_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct npy;

struct npy *npy_open(const char *path, size_t columns, struct err *e); // NULL with e set
/* Before the first row: each is [n, columns]; the file's shape is [rows, n, columns], or
 * [rows, columns] where n is 1. */
void npy_per_row(struct npy *n, size_t per_row);
int npy_rows(struct npy *n, uint32_t seq, const void *values, size_t rows, struct err *e); // f32
int npy_end(struct npy *n, uint32_t seq, struct err *e); // nothing more will come of seq
int npy_commit(struct npy *n, struct err *e);            // frees n, also on error
void npy_abort(struct npy *n);

#endif
