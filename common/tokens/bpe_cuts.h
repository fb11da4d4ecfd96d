/* Places where a long word can be cut before it is merged.
 *
 * A merge makes a token of the vocabulary. If no token has "x" directly before "y", no merge can
 * join them, and the word can be cut between the two. Each part is then merged alone. In a
 * byte-level vocabulary the characters are bytes, so one bit for each pair of bytes is enough.
 * Other pairs are hashed.
 *
 * SPDX-License-Identifier: AGPL-3.0-or-later */
#ifndef TOKENS_BPE_CUTS_H
#define TOKENS_BPE_CUTS_H

#include "tokens/vocab.h"

struct bpe_cuts {
    // A bit for each pair that some token has. Hashed pairs may share a bit, which only loses a
    // cut.
    uint64_t *bits;
    bool known[256]; // whether this byte is a token by itself
};

void bpe_cuts_build(struct bpe_cuts *c, const struct vocab *v);
void bpe_cuts_free(struct bpe_cuts *c);

/* Returns the first cut of word after `from`, or word.n. */
size_t bpe_cuts_next(const struct bpe_cuts *c, const struct vocab *v, struct str word, size_t from);

#endif
