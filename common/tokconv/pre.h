/* The pre-tokenizers that published tokenizers have, by llama.cpp's names for them. A file of ranks
 * or merges, or a GGUF file, has at most such a name; see pre.c for the table.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKCONV_PRE_H
#define TOKCONV_PRE_H

#include <stdbool.h>

#include "base/mem.h"

struct tokpre;

const struct tokpre *tokpre_find(struct str name); // NULL: not known
const char *tokpre_names(struct buf *out);         // all of them, separated by spaces
/* Appends the JSON of the normalizer, nothing if there is none. */
void tokpre_normalizer(const struct tokpre *p, struct buf *out);
/* Appends the JSON of the pre-tokenizer. prefix_space: the step that spells bytes puts a space
 * before a text that has none. */
void tokpre_pre_tokenizer(const struct tokpre *p, bool prefix_space, struct buf *out);
bool tokpre_ignores_merges(const struct tokpre *p);
bool tokpre_adds_bos(const struct tokpre *p); // where the file does not say

#endif
