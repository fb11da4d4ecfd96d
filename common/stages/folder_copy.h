/* What a program that writes a model folder again copies from the source, besides the weights.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_FOLDER_COPY_H
#define STAGES_FOLDER_COPY_H

#include "base/outdir.h"

/* Copies the .json, .txt, .model and .jinja files of a model folder, except those that are written
 * anew: config.json and the index of shards. Of the folders that a modules.json names
 * (sentence-transformers: 1_Pooling, 2_Dense) it copies all such files and the .safetensors; a
 * folder that is missing has none. -1: EXIT_DATA (a link leaves the folder; modules.json is not
 * readable), EXIT_NO_INPUT, EXIT_IO. */
int folder_copy(const char *folder, struct outdir *dir, struct err *e);

/* Copies the file of that name, if it is there. Errors are the same. */
int folder_copy_file(const char *folder, const char *name, const struct outdir *dir, struct err *e);

#endif
