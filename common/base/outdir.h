/* A folder that appears under its name only when it is complete: filled beside it, then renamed.
 *
 * An existing folder is replaced only when that was asked for, and only if it holds config.json and
 * nothing but plain files: a slip of the hand must not remove somebody's home.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef BASE_OUTDIR_H
#define BASE_OUTDIR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct outdir {
    char *path, *temp; // owned; files are written to temp
    bool replace;
};

int outdir_open(struct outdir *o, const char *path, bool replace, struct err *e);
int outdir_file(const struct outdir *o, const char *name, const void *p, size_t n,
                struct err *e); // a whole file of it
int outdir_commit(struct outdir *o,
                  struct err *e);    // frees o, also on error (the temporary is removed)
void outdir_abort(struct outdir *o); // removes the temporary; nothing to do after a commit

#endif
