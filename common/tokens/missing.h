/* The message about a folder that has no tokenizer.json.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_MISSING_H
#define TOKENS_MISSING_H

#include "base/err.h"

/* Sets e (EXIT_NO_INPUT): which other tokenizer file the folder has, and how to get a
 * tokenizer.json. */
void tokenizer_missing(const char *dir, struct err *e);

#endif
