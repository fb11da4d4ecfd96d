/* A folder that appears under its name only when it is complete: it is filled under a temporary
 * name and then renamed.
 *
 * An existing folder is replaced only on request, and only if it has a config.json or a
 * tokenizer.json, and no subfolders. Where it has a modules.json (sentence-transformers), it may
 * have subfolders that are empty, or have a config.json and no subfolders. So a mistyped path
 * cannot remove a home directory.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_OUTDIR_H
#define BASE_OUTDIR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct outdir {
    char *path, *temp; // owned; files are written to temp
    char **folders;    // [n_folders], owned: paths of the subfolders of temp
    size_t n_folders;
    bool replace;
};

int outdir_open(struct outdir *o, const char *path, bool replace, struct err *e);
/* Makes an empty subfolder. */
int outdir_folder(struct outdir *o, const char *name, struct err *e);
/* Writes one whole file; name may be "FOLDER/FILE" of a subfolder that was made. */
int outdir_file(const struct outdir *o, const char *name, const void *p, size_t n, struct err *e);
/* Frees o, also on error; then the temporary is removed. */
int outdir_commit(struct outdir *o, struct err *e);
void outdir_abort(struct outdir *o); // removes the temporary; nothing to do after a commit

#endif
