/* Merging a long word in windows that stay in the cache.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_WINDOWS_H
#define TOKENS_BPE_WINDOWS_H

#include "tokens/bpe.h"
#include "tokens/model.h"

/* Appends what bpe_merge_word makes of the tokens byte_ids[] of word's bytes, with offsets from `base` on where they are
 * wanted. False, with out as it was, where it would take windows of more than a few thousand bytes. */
bool bpe_windows(const struct bpe_merges *m, const uint32_t byte_ids[256], struct bpe_work work[2], struct str word,
                 size_t base, struct token_ids *out);

#endif
