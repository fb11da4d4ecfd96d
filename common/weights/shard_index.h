/* model.safetensors.index.json: which file of a folder holds each tensor. Private to
 * common/weights.
 *
 * Refused: an index without a weight_map, a tensor that comes twice, a name that no safetensors
 * file may have, and a path outside the index's folder.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef WEIGHTS_SHARD_INDEX_H
#define WEIGHTS_SHARD_INDEX_H

#include <stddef.h>

#include "base/err.h"
#include "base/json.h"

struct shard_entry {
    struct str tensor, file; // file: a name in the index's folder; both without a NUL inside
};

struct shard_index {
    struct json json; // owns strings
    struct buf text;
    struct shard_entry *entries; // [n], sorted by tensor
    size_t n;
};

/* -1: EXIT_DATA or EXIT_NO_INPUT. End with shard_index_free, also after -1. */
int shard_index_read(struct shard_index *x, const char *path, struct err *e);
void shard_index_free(struct shard_index *x);

/* The file that the index gives for a tensor; n = 0 if it gives none. */
struct str shard_index_file(const struct shard_index *x, const char *tensor);

/* The names of all files, sorted and without repetition: owned by the caller, *n of them. Their
 * bytes are the index's. */
struct str *shard_index_files(const struct shard_index *x, size_t *n);

#endif
