/* Merging a long word in windows that stay in the cache.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_WINDOWS_H
#define TOKENS_BPE_WINDOWS_H

#include "tokens/bpe.h"
#include "tokens/model.h"

/* What a word is made of: bytes that have a token each, or symbols as bpe_add makes them. */
struct bpe_units {
    const unsigned char *bytes;       // [n], or NULL
    const uint32_t *byte_ids;         // [256], with bytes
    const uint32_t *byte_ranks;       // as in bpe_work, with bytes, or NULL
    const struct bpe_symbol *symbols; // [n], without bytes
    size_t n;
};

/* Appends what bpe_merge_word makes of the units, with offsets from `base` on where they are
 * wanted. False, with out as it was, where it would take windows of more than a few thousand units.
 */
bool bpe_windows(const struct bpe_merges *m, const struct bpe_units *u, struct bpe_work work[2],
                 size_t base, struct token_ids *out);

#endif
