/* Where a word can be cut before it is merged: between two characters that no token of the
 * vocabulary has side by side, for then no merge can join them. A byte-level vocabulary's
 * characters are bytes, whose pairs are few enough for a table.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_CUTS_H
#define TOKENS_BPE_CUTS_H

#include "tokens/vocab.h"

struct bpe_cuts {
    uint64_t *bits;  // a set bit for each pair that some token has; other pairs may share it, which
                     // only costs a cut
    bool known[256]; // whether this byte is a token by itself
};

void bpe_cuts_build(struct bpe_cuts *c, const struct vocab *v);
void bpe_cuts_free(struct bpe_cuts *c);

/* The first cut of word behind `from`, or word.n. */
size_t bpe_cuts_next(const struct bpe_cuts *c, const struct vocab *v, struct str word, size_t from);

#endif
