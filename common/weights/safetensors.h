/* Reading safetensors: one file, a sharded folder, or a model folder, mapped read-only and checked in full
 * before any tensor is given out.
 *
 * The format and its limits: https://github.com/huggingface/safetensors (README, "Format"; safetensors/src/
 * tensor.rs): 8 bytes of header length (little-endian, at most 100,000,000), a JSON object, the data. Refused:
 * a header past the file's end, duplicate names, offsets that overlap, leave holes or pass the end, sizes that
 * do not match dtype and shape, and index files that name missing tensors or paths outside the folder.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_SAFETENSORS_H
#define WEIGHTS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/io.h"
#include "weights/dtype.h"

enum { TENSOR_MAX_DIMS = 8 };

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
    char *metadata_json; // "__metadata__" as it stands, or NULL
};

struct weights {
    struct st_file *files;
    size_t n_files;
    struct tensor *tensors; // ordered by file, then offset
    size_t n_tensors;
    uint64_t fingerprint; // BLAKE2b of the headers' bytes, file after file: equal for equal layouts, cheap
    struct arena *names;
    uint32_t *index; // hash table over names
    size_t index_size;
};

/* path: a .safetensors file, a model.safetensors.index.json, or a folder holding either. 0, or -1 with e set
 * (EXIT_NO_INPUT, EXIT_DATA, ...). The caller ends it with weights_close. */
int weights_open(struct weights *w, const char *path, struct err *e);
void weights_close(struct weights *w);

const struct tensor *weights_find(const struct weights *w, const char *name); // NULL where there is none

/* "[3, 64]" for messages; returns out. */
char *tensor_shape_text(const struct tensor *t, char out[static 200]);

#endif
