/* Writes a quantised model: tensors in one file or in shards, and config.json.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef QUANTIZE_WRITE_H
#define QUANTIZE_WRITE_H

#include "base/outdir.h"
#include "quantize/plan.h"

struct quantize_target {
    const struct outdir *dir;
    const char *metadata;     // text of a JSON object of strings, for each file
    uint64_t shard_bytes;     // most bytes of tensors in a file, unless one tensor has more
    int (*interrupted)(void); // called every few MB; writing stops where it returns nonzero
};

/* Writes model.safetensors, or shards with an index. Encoded matrices come first, in the order of
 * use, so that each begins at a multiple of 64 bytes. Memory does not grow with the model: rows are
 * encoded by threads, a few panels at a time, and pages of the source are dropped after use. Sets
 * each matrix's error. -1: EXIT_DATA (a weight is not finite), EXIT_IO, EXIT_SYSTEM. */
int quantize_write(struct quantize_plan *p, const struct quantize_options *o,
                   const struct quantize_target *to, struct err *e);

/* The text of config.json in folder `source`, with quantization_config set. -1 (EXIT_DATA): the
 * model is quantised already. */
int quantize_config(const char *source, struct buf *out, struct err *e);

/* The metadata of the result: for each file of the source its BLAKE2b-256. Reads all bytes. */
int quantize_metadata(const struct weights *source, size_t n_threads, struct buf *out,
                      struct err *e);

#endif
