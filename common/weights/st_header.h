/* Reads the header of one safetensors file. safetensors.h says what is refused, and where the
 * format is described. For safetensors.c alone: others open weights.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_ST_HEADER_H
#define WEIGHTS_ST_HEADER_H

#include "weights/safetensors.h"

/* Reads the header of w->files[file], a file of file_bytes bytes, of which the first n are at p.
 * Appends its tensors to w->tensors, which has room for *cap and grows. Their data points into p if
 * n == file_bytes, else it is NULL. 0, or -1 with e set (EXIT_DATA); w then has tensors that may
 * not be used, and weights_close frees them. */
int st_header_read(struct weights *w, size_t file, const unsigned char *p, size_t n,
                   uint64_t file_bytes, size_t *cap, struct err *e);

#endif
