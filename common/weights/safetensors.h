/* Reads safetensors: one file, a sharded folder, or a model folder. Files are mapped read-only, and
 * checked in full before any tensor can be used.
 *
 * The format and its limits: https://github.com/huggingface/safetensors (README, "Format";
 * safetensors/src/tensor.rs): 8 bytes of header length (little-endian, at most 100,000,000), a JSON
 * object, the data. Refused: a header past the file's end, duplicate names, offsets that overlap,
 * leave holes or pass the end, sizes that do not match dtype and shape, and index files that name
 * paths outside the folder. Stricter than the format: names are 1 to TENSOR_MAX_NAME bytes without
 * control characters (so that they are safe in messages and lists), and shapes have at most
 * TENSOR_MAX_DIMS dimensions.
 *
 * Where two shards have a tensor, the index says which of them counts. The other copy is left out
 * of the list of tensors.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_SAFETENSORS_H
#define WEIGHTS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"
#include "weights/dtype.h"

enum {
    TENSOR_MAX_DIMS = 8,
    TENSOR_MAX_NAME = 1024,
    ST_MAX_HEADER = 100000000,
    ST_MAX_TENSORS = 1 << 19
};

struct tensor {
    const char *name; // NUL-terminated, owned by the weights
    enum dtype dtype;
    size_t n_dims;
    uint64_t shape[TENSOR_MAX_DIMS];
    uint64_t n_elements;
    uint64_t offset; // of the first byte, in its file
    uint64_t n_bytes;
    const void *data; // in the mapping; may be unaligned
    size_t file;      // index into files
};

struct st_file {
    char *path;
    struct map map;
    size_t header_bytes; // 8 + JSON
    char *metadata_json; // the value of "__metadata__", or NULL
};

struct weights {
    struct st_file *files;
    size_t n_files;
    struct tensor *tensors; // ordered by file, then offset
    size_t n_tensors;
    uint64_t fingerprint; // BLAKE2b of the headers, file after file: cheap; equal for equal layouts
    struct arena names;
    const struct tensor **by_name; // sorted by strcmp
    struct buf warnings;           // a line for each way in which the index and its shards disagree
};

/* path: a .safetensors file, a model.safetensors.index.json, or a folder with model.safetensors
 * (preferred) or the index. 0, or -1 with e set (EXIT_NO_INPUT, EXIT_DATA, ...) and nothing left
 * open. The caller closes it with weights_close. The mapping is shared: truncating a file while it
 * is read ends the program (SIGBUS). */
int weights_open(struct weights *w, const char *path, struct err *e);
void weights_close(struct weights *w);

/* One file of file_bytes bytes, of which the first n, at least the whole header, are at p. The
 * caller owns p. Tensors' data may only be read if n == file_bytes. name is for messages. */
int weights_from_bytes(struct weights *w, const char *name, const void *p, size_t n,
                       uint64_t file_bytes, struct err *e);

const struct tensor *weights_find(const struct weights *w, const char *name); // NULL if missing

/* What is wrong with a name: "is empty", "is too long", "holds a control character"; or NULL. */
const char *tensor_name_fault(struct str name);

/* "[3, 64]" for messages; returns out. */
char *tensor_shape_text(const struct tensor *t, char out[static 200]);

#endif
