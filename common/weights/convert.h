/* Writing a model.safetensors from tensors of any source, in one float dtype; and re-typing a
 * Hugging Face folder.
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

/* One tensor to write: either its bytes as they are (raw), or rows of f32 from `row`, rounded to
 * dtype. */
struct convert_item {
    const char *name;
    enum dtype dtype; // as written: F32, F16 or BF16, or anything when raw
    size_t n_dims;
    uint64_t shape[TENSOR_MAX_DIMS];
    uint64_t n_rows, n_cols;
    const void *raw; // n_bytes of it, or NULL
    uint64_t n_bytes;
    const void *source;                                      // handed to row
    void (*row)(const void *source, uint64_t i, float *out); // out [n_cols]
};

/* t must be F32, F16 or BF16. Items are owned by the caller (free), what they point to by w. */
/* Float tensors become t, others stay. NULL with e set for 8-bit and smaller floats, whose scales
 * stand elsewhere. */
struct convert_item *convert_from_weights(const struct weights *w, enum dtype t, struct err *e);

/* Writes dir's model.safetensors with progress on stderr. interrupted (may be NULL) is asked now
 * and then; when it returns nonzero the writing stops with EXIT_SYSTEM. Warns where f16 cannot hold
 * a value. */
int convert_write(const struct convert_item *items, size_t n, const struct outdir *dir,
                  int (*interrupted)(void), struct err *e);

/* dir/config.json with its torch_dtype and dtype made t. Refuses a quantization_config. */
int convert_config(const char *dir, enum dtype t, struct buf *out, struct err *e);

#endif
