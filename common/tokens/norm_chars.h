/* What several normalizers do character by character.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_NORM_CHARS_H
#define TOKENS_NORM_CHARS_H

#include "tokens/text.h"

enum { CHAR_KEEP = -1 };

/* Applies map to every character: it writes what becomes of cp to out[4] and returns its length, 0
 * to drop it, or CHAR_KEEP. t is not touched where nothing changes. */
void norm_map(struct tok_text *t, int (*map)(uint32_t cp, char *out));

void norm_lower(struct tok_text *t);               // Rust's to_lowercase, each character by itself
void norm_drop(struct tok_text *t, unsigned bits); // characters whose uni_bits have one of these

#endif
