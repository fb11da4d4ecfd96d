/* Steps that several normalizers share. Each works character by character and leaves a text alone
 * that it does not change.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_NORM_CHARS_H
#define TOKENS_NORM_CHARS_H

#include "tokens/text.h"

enum { CHAR_KEEP = -1 };

/* Applies map to every character cp. map writes the replacement to out[4] and returns its length.
 * It returns 0 to drop cp, and CHAR_KEEP to leave it. */
void norm_map(struct tok_text *t, int (*map)(uint32_t cp, char *out));

void norm_lower(struct tok_text *t);               // Rust's to_lowercase of each character alone
void norm_drop(struct tok_text *t, unsigned bits); // drops characters with one of these uni_bits

#endif
