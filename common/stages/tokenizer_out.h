/* The tokenizer's part of a folder that st-convert writes: tokenizer.json from another library's
 * files.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef STAGES_TOKENIZER_OUT_H
#define STAGES_TOKENIZER_OUT_H

#include <stdbool.h>

#include "base/outdir.h"
#include "tokconv/tokconv.h"

/* Looks for the files of a folder that has no tokenizer.json. 1 with s set, 0, or -1 with e set. */
int tokenizer_out_find(const char *folder, struct tokconv_source *s, struct err *e);

/* Writes r's tokenizer.json, and tokenizer_config.json if there is none. */
int tokenizer_out_write(const struct tokconv_result *r, const struct outdir *dir, struct err *e);

/* Makes a folder with a tokenizer and no weights. whole: copy all small files of the source's
 * folder; else only those that belong to a tokenizer. */
int tokenizer_out_folder(const struct tokconv_source *s, const char *pre, bool whole,
                         const char *target, bool replace, struct err *e);

#endif
