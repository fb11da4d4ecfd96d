/* Merging a long word in windows that fit in the cache. The result is the same as merging the whole
 * word: see bpe_windows.c.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_WINDOWS_H
#define TOKENS_BPE_WINDOWS_H

#include "tokens/bpe.h"
#include "tokens/model.h"

/* The units of a word: bytes that have a token each, or symbols as bpe_add makes them. */
struct bpe_units {
    const unsigned char *bytes;       // [n], or NULL
    const uint32_t *byte_ids;         // [256], with bytes
    const uint32_t *byte_ranks;       // bpe_work.byte_ranks, or NULL; with bytes
    const struct bpe_symbol *symbols; // [n], without bytes
    size_t n;
};

/* Appends the tokens that bpe_merge_word makes of the units. Offsets, if wanted, start at `base`.
 * Returns false if a window would need more than 4096 units; out is then as before. */
bool bpe_windows(const struct bpe_merges *m, const struct bpe_units *u, struct bpe_work work[2],
                 size_t base, struct token_ids *out);

#endif
