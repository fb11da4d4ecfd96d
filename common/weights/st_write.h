/* Writes one safetensors file: names and shapes first, then the data in the same order, then
 * commit. The file appears under its name only when it is complete.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_ST_WRITE_H
#define WEIGHTS_ST_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "weights/dtype.h"

struct st_writer;

/* metadata_json: the text of a JSON object of strings for "__metadata__", or NULL. st_writer_begin
 * checks it, the names and the shapes, and refuses what weights_open would refuse. */
struct st_writer *st_writer_new(const char *metadata_json);
void st_writer_add(struct st_writer *w, const char *name, enum dtype t, size_t n_dims,
                   const uint64_t *shape);

/* Opens a temporary file beside path and writes the header. Spaces pad it so that the data is
 * aligned to 64 bytes. */
int st_writer_begin(struct st_writer *w, const char *path, struct err *e);
/* The next n bytes of data; pieces may have any size. */
int st_writer_data(struct st_writer *w, const void *p, size_t n, struct err *e);
int st_writer_commit(struct st_writer *w, struct err *e); // refuses a wrong total; always frees w
void st_writer_abort(struct st_writer *w);                // removes the temporary, frees w

#endif
