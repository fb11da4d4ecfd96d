/* Writes a model.safetensors from tensors of any source, in one float dtype, and changes the dtype
 * of a Hugging Face folder.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_CONVERT_H
#define WEIGHTS_CONVERT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/outdir.h"
#include "weights/dtype.h"
#include "weights/safetensors.h"

/* One tensor to write: its bytes unchanged (raw), its bytes in pieces, or rows of f32 from `row`,
 * rounded to dtype. */
struct convert_item {
    const char *name;
    enum dtype dtype; // as written: F32, F16 or BF16, or anything when raw
    size_t n_dims;
    uint64_t shape[TENSOR_MAX_DIMS];
    uint64_t n_rows, n_cols; // or pieces, and the most bytes of one
    const void *raw;         // n_bytes of it, or NULL
    uint64_t n_bytes;
    const void *source;                                      // passed to row and piece
    void (*row)(const void *source, uint64_t i, float *out); // out [n_cols]
    /* Piece i -> out [n_cols]; returns its bytes. NULL: there are rows. */
    size_t (*piece)(const void *source, uint64_t i, unsigned char *out);
};

/* One item a tensor, for float tensors with dtype t (F32, F16 or BF16), for others unchanged. NULL
 * with e set for floats of 8 bits and less, whose scales are in other tensors. The caller frees the
 * items; w owns what they point to. */
struct convert_item *convert_from_weights(const struct weights *w, enum dtype t, struct err *e);

/* Writes dir's model.safetensors, with progress on stderr. interrupted (may be NULL) is called
 * every few MB; if it returns nonzero, writing stops with EXIT_SYSTEM. Warns about values that f16
 * cannot represent. */
int convert_write(const struct convert_item *items, size_t n, const struct outdir *dir,
                  int (*interrupted)(void), struct err *e);

/* dir/config.json with torch_dtype and dtype set to t. Refuses a quantization_config. */
int convert_config(const char *dir, enum dtype t, struct buf *out, struct err *e);

#endif
